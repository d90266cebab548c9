"""Requests without the driver: signed as AWS signs, answered as the driver answers."""

import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import perdure
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as DriverCredentials
from perdure.clock import SystemClock
from perdure.contract import ProviderUrl
from perdure_dynamodb import CredentialsRefused, DynamoDBOptions
from perdure_dynamodb._aws import aws_calls
from perdure_dynamodb._direct import DirectCalls, Signer, read_answer
from perdure_dynamodb._schema import create_table
from perdure_dynamodb._transport import (
    ConditionFailed,
    Refused,
    TransactionCancelled,
    Unanswered,
)

AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)


@dataclass
class Keys:
    access_key: str = "AKIDEXAMPLE"
    secret_key: str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # noqa: S105 # AWS's example
    token: str | None = None


def test_a_signature_is_that_of_awss_test_vector():
    signer = Signer("us-east-1", "service", "example.amazonaws.com")

    headers = signer.headers(b"", {}, Keys(), AT)

    # `post-vanilla` of the test suite for version 4.
    assert headers["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
        " SignedHeaders=host;x-amz-date,"
        " Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
    )


@pytest.mark.parametrize("token", [None, "a-session"])
@pytest.mark.parametrize("body", [b"{}", '{"Ä": "ß"}'.encode()])
def test_a_signature_is_that_of_the_driver(body, token, monkeypatch):
    sent = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "DynamoDB_20120810.Query"}
    request = AWSRequest("POST", "https://dynamodb.eu-west-1.amazonaws.com/", dict(sent), body)
    keys = Keys(token=token)
    credentials = DriverCredentials(keys.access_key, keys.secret_key, token)
    SigV4Auth(credentials, "dynamodb", "eu-west-1").add_auth(request)
    at = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    signer = Signer("eu-west-1", "dynamodb", "dynamodb.eu-west-1.amazonaws.com")

    headers = signer.headers(body, sent, keys, at)
    assert headers["authorization"].replace(",", "") == request.headers["Authorization"].replace(
        ",", ""
    )


def test_an_answer_is_read_with_its_checksum():
    body = json.dumps({"Item": {}}).encode()

    assert read_answer(200, body, str(zlib.crc32(body))) == {"Item": {}}
    with pytest.raises(Unanswered, match="checksum"):
        read_answer(200, body, "1")
    with pytest.raises(Unanswered, match="no JSON object"):
        read_answer(200, b"<html>", None)
    assert read_answer(502, b"<html>", None) == {}


def direct(url):
    return DynamoDBOptions.from_url(ProviderUrl.parse(f"{url}&direct=true"))


@pytest.mark.slow
async def test_answers_and_refusals_are_those_of_the_driver(dynamodb_url):
    options = direct(dynamodb_url)
    key = {"pk": {"S": uuid4().hex}, "sk": {"S": "ß"}}
    put = {"TableName": options.table, "Item": {**key, "dat": {"B": b"\x00\xff"}}}
    absent = {
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    async with aws_calls(options) as calls:
        assert isinstance(calls, DirectCalls)
        await create_table(calls, options.table, clock=SystemClock())
        await calls.call("PutItem", put)

        with pytest.raises(ConditionFailed) as failed:
            await calls.call("PutItem", {**put, **absent})
        with pytest.raises(TransactionCancelled) as cancelled:
            await calls.call("TransactWriteItems", {"TransactItems": [{"Put": {**put, **absent}}]})
        with pytest.raises(Refused, match="ValidationException"):
            await calls.call("PutItem", {"TableName": options.table, "Item": {}})

    assert failed.value.item["dat"] == b"\x00\xff"
    assert [reason.code for reason in cancelled.value.reasons] == ["ConditionalCheckFailed"]
    assert cancelled.value.reasons[0].item["sk"] == "ß"


@pytest.mark.slow
async def test_an_orchestration_runs_without_the_driver(dynamodb_url):
    app = perdure.Registry()

    @app.activity
    async def double(text: str) -> str:
        return text * 2

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext, text: str) -> str:
        return await ctx.schedule_activity(double, text)

    url = f"{dynamodb_url}&direct=true&namespace={uuid4().hex}"
    async with perdure.open_provider(url) as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        # Long enough for chunks.
        await client.start_orchestration("one", "flow", json.dumps("x" * 9000))
        status = await client.wait_for_orchestration("one")

    assert status == perdure.Completed(output=json.dumps("x" * 18_000))


async def test_a_process_without_credentials_is_told_so(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")

    with pytest.raises(CredentialsRefused):
        async with perdure.open_provider("dynamodb://Orders?region=eu-west-1&direct=true"):
            pass
