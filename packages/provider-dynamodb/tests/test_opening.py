"""What can be wrong when the provider is opened: an error each, soon, and with what to do."""

import asyncio
import json
from contextlib import asynccontextmanager

import perdure
import pytest
from perdure.clock import SystemClock
from perdure.contract import ManualClock, ProviderUrl
from perdure.errors import StorageFailed, StorageUnavailable
from perdure_dynamodb import (
    CredentialsRefused,
    DynamoDBOptions,
    EndpointUnreachable,
    RegionInvalid,
    TableMissing,
    WrongTableShape,
    _opening,
    _schema,
)
from perdure_dynamodb._aws import aws_calls
from perdure_dynamodb._schema import definition
from perdure_dynamodb._transport import Refused
from perdure_dynamodb.testing.faults import Fault, FaultyCalls

KEYS = "access_key_id=local&secret_access_key=local"


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch, tmp_path):
    """A machine on which AWS is not set up."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_PROFILE",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def refusal_of(url, kind):
    """The message with which opening is refused, within ten seconds."""
    with pytest.raises(kind) as raised:
        async with asyncio.timeout(10), perdure.open_provider(url):
            pass
    assert type(raised.value) is kind
    return str(raised.value)


@asynccontextmanager
async def answering(status, body):
    """A server that answers every request in this way; where the status is None, it never does."""

    answers = []

    async def answer(reader, writer):
        answers.append(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            if status is None:
                await reader.read()
            else:
                head = f"HTTP/1.1 {status} no\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    await asyncio.gather(*answers)


@pytest.mark.slow
async def test_an_endpoint_that_does_not_answer_is_named():
    async with answering(200, b"") as endpoint:
        pass

    url = f"dynamodb://Orders?endpoint_url={endpoint}&region=eu-west-1&{KEYS}"
    for more in ("", "&create_table=true"):
        message = await refusal_of(url + more, EndpointUnreachable)
        assert endpoint in message
        assert "check the region, the endpoint and the network" in message
    assert issubclass(EndpointUnreachable, StorageUnavailable)


@pytest.mark.slow
async def test_an_endpoint_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(_opening, "PATIENCE", _opening.PATIENCE / 4)
    async with answering(None, b"") as endpoint:
        url = f"dynamodb://Orders?endpoint_url={endpoint}&region=eu-west-1&{KEYS}"
        message = await refusal_of(f"{url}&create_table=true", EndpointUnreachable)

    assert "it took too long" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "in the configured region"),
        ("&region=not%20a%20region", "not a region"),
    ],
)
async def test_no_region_and_an_impossible_one_are_told_apart_from_the_rest(options, said):
    message = await refusal_of(f"dynamodb://Orders?{KEYS}{options}", RegionInvalid)

    assert said in message
    assert "region=eu-west-1" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "NoCredentialsError"),
        ("&profile=missing", "missing"),
    ],
)
async def test_credentials_that_are_not_there_are_asked_for(options, said):
    message = await refusal_of(f"dynamodb://Orders?region=eu-west-1{options}", CredentialsRefused)

    assert said in message
    assert "check the keys, the profile or the role" in message


@pytest.mark.slow
@pytest.mark.parametrize(
    "code", ["UnrecognizedClientException", "AccessDeniedException", "InvalidSignatureException"]
)
async def test_credentials_that_are_refused_are_said_to_be(code):
    body = {"__type": f"com.amazon.coral.service#{code}", "message": "not you"}
    async with answering(400, json.dumps(body).encode()) as endpoint:
        url = f"dynamodb://Orders?endpoint_url={endpoint}&region=eu-west-1&{KEYS}"
        message = await refusal_of(url, CredentialsRefused)

    assert code in message
    assert "not you" in message


@pytest.mark.slow
async def test_what_is_no_dynamodb_is_said_to_refuse():
    async with answering(404, b"<html>not here</html>") as endpoint:
        url = f"dynamodb://Orders?endpoint_url={endpoint}&region=eu-west-1&{KEYS}"
        message = await refusal_of(url, StorageFailed)

    assert endpoint in message
    assert "404" in message


@pytest.mark.slow
async def test_a_key_that_dynamodb_local_refuses_is_said_to_be(dynamodb_url):
    url = dynamodb_url.replace("access_key_id=local", "access_key_id=no-such-key")
    message = await refusal_of(url, CredentialsRefused)

    assert "UnrecognizedClientException" in message


@pytest.mark.slow
async def test_a_missing_table_is_named_with_how_to_create_it(dynamodb_url):
    url = dynamodb_url.replace("//PerdureTests", "//NotThere")
    message = await refusal_of(url.replace("&create_table=true", ""), TableMissing)

    assert "'NotThere'" in message
    assert "create-table" in message


def without_index(table):
    named = {"pk", "sk"}
    attributes = [each for each in table["AttributeDefinitions"] if each["AttributeName"] in named]
    return {
        "AttributeDefinitions": attributes,
        "TableName": table["TableName"],
        "KeySchema": table["KeySchema"],
        "BillingMode": table["BillingMode"],
    }


def with_other_key(table):
    return {**table, "KeySchema": _keys("sk", "pk")}


def with_other_index_key(table):
    [index] = table["GlobalSecondaryIndexes"]
    return {**table, "GlobalSecondaryIndexes": [{**index, "KeySchema": _keys("gsk", "gpk")}]}


def with_numbers_for_keys(table):
    numbers = [{**each, "AttributeType": "N"} for each in table["AttributeDefinitions"]]
    return {**table, "AttributeDefinitions": numbers}


def with_less_in_the_index(table):
    [index] = table["GlobalSecondaryIndexes"]
    projection = {"ProjectionType": "KEYS_ONLY"}
    return {**table, "GlobalSecondaryIndexes": [{**index, "Projection": projection}]}


def _keys(partition, sort):
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_other_key, "its key is not 'pk' and 'sk'"),
        (without_index, "it has no index 'due'"),
        (with_other_index_key, "the key of its index 'due'"),
        (with_numbers_for_keys, "not all of its keys are of the type 'S'"),
        (with_less_in_the_index, "lacks one of the attributes"),
    ],
)
async def test_a_table_of_another_shape_is_refused_with_the_fault(dynamodb_url, change, said):
    name = f"Wrong-{change.__name__}"
    url = dynamodb_url.replace("//PerdureTests", f"//{name}")
    async with aws_calls(DynamoDBOptions.from_url(ProviderUrl.parse(url))) as calls:
        unprotected = {**definition(name), "DeletionProtectionEnabled": False}
        await calls.call("CreateTable", change(unprotected))
        try:
            message = await refusal_of(url, WrongTableShape)
        finally:
            await calls.call("DeleteTable", {"TableName": name})

    assert name in message
    assert said in message
    assert "create-table" in message


@pytest.mark.slow
async def test_a_table_is_created_where_that_is_asked_for(dynamodb_url):
    url = dynamodb_url.replace("//PerdureTests", "//Created")
    async with aws_calls(DynamoDBOptions.from_url(ProviderUrl.parse(url))) as calls:
        async with perdure.open_provider(url), perdure.open_provider(url):
            pass
        await _schema.check_table(calls, "Created", where="here", create=False, clock=SystemClock())
        described = await calls.call("DescribeTable", {"TableName": "Created"})
        await calls.call(
            "UpdateTable", {"TableName": "Created", "DeletionProtectionEnabled": False}
        )
        await calls.call("DeleteTable", {"TableName": "Created"})

    assert described["Table"]["DeletionProtectionEnabled"] is True


class BeingCreated:
    """A table that another process is just creating: the third look finds it ready."""

    def __init__(self):
        self.looks = 0

    async def call(self, operation, parameters):
        if operation == "CreateTable":
            raise Refused("ResourceInUseException", "it exists already")
        self.looks += 1
        status = "ACTIVE" if self.looks > 2 else "CREATING"
        return {"Table": {**definition("Orders"), "TableStatus": status}}


async def test_a_table_that_another_process_is_just_creating_is_waited_for():
    class Passing(ManualClock):
        async def sleep(self, duration):
            self.advance(duration)

    calls = BeingCreated()
    await _schema.check_table(calls, "Orders", where="here", create=True, clock=Passing())

    assert calls.looks == 4


@pytest.mark.slow
@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.LOST_REQUEST, Fault.LOST_ANSWER])
async def test_a_look_at_the_table_that_fails_once_is_repeated(fault, model):
    faults = iter([fault])
    calls = FaultyCalls(model, lambda operation, parameters: next(faults, None))

    await _schema.check_table(calls, "model", where="here", create=False, clock=ManualClock())

    assert calls.requests == ["DescribeTable"] * 2


def test_a_truth_value_is_no_number_of_shards():
    with pytest.raises(ValueError, match="truth value; pass a number"):
        DynamoDBOptions(table="Orders", shards=True)


async def test_a_first_opening_whose_answer_is_lost_is_no_opening_by_an_earlier_version(
    model, open_on_model
):
    for lost in range(2):
        faults = [None] * lost + [Fault.LOST_ANSWER]
        calls = FaultyCalls(
            model,
            lambda operation, _, left=faults: (
                left.pop(0) if operation == "UpdateItem" and left else None
            ),
        )
        async with open_on_model(calls, namespace=f"new-{lost}"):
            settings = model.items[f"new-{lost}#!config", "A"]
            assert settings["lnk"] == 1
            assert settings["opn"] == 1 + lost
