"""What the pages about DynamoDB say is what is built."""

import json
import re
from contextlib import AsyncExitStack
from datetime import timedelta
from fnmatch import fnmatch
from pathlib import Path

import botocore.session
import perdure
import perdure_dynamodb
import pytest
from perdure.clock import SystemClock
from perdure.contract import ALLOWED_SKEW, LONGEST_LEASE
from perdure.errors import ProviderError, StorageFailed
from perdure_dynamodb import DynamoDBOptions
from perdure_dynamodb._commits import FINISH_LIMIT
from perdure_dynamodb._opening import open_on
from perdure_dynamodb._options import DEFAULT_SHARDS, MOST_SHARDS
from perdure_dynamodb._payloads import CHUNK_BYTES, INLINE_LIMIT
from perdure_dynamodb._retries import ATTEMPTS
from perdure_dynamodb._schema import PROJECTED, definition
from perdure_dynamodb._shards import GRACE, REFRESH
from perdure_dynamodb._table import TRANSACTION_LIMIT
from perdure_dynamodb._transport import Refused
from perdure_dynamodb.testing.model import ModelCalls

PACKAGE = Path(perdure_dynamodb.__file__).parent
DOCS = Path(__file__).parents[3] / "docs"
TEXT = (DOCS / "operate" / "dynamodb.md").read_text(encoding="utf-8")
EVERYTHING = TEXT + "".join(
    (DOCS / name).read_text(encoding="utf-8")
    for name in ("operate/dynamodb-operating.md", "explain/dynamodb-internals.md")
)
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def json_blocks(heading):
    section = TEXT[TEXT.index(f"### {heading}\n") :]
    section = section[: section.index("\n### ", 1)]
    return [json.loads(each) for each in re.findall(r"```json\n(.*?)```", section, re.DOTALL)]


def options_of(text):
    section = text[text.index("| option |") :].split("\n\n")[0]
    cells = [line.split("|")[1] for line in section.splitlines()[2:]]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_the_policy_allows_what_the_provider_asks_for_and_no_more():
    operations = set(botocore.session.get_session().get_service_model("dynamodb").operation_names)
    written = {
        text
        for path in PACKAGE.glob("_*.py")
        for text in re.findall(r'"(\w+)"', path.read_text(encoding="utf-8"))
    }
    asked = operations & written
    assert {"TransactWriteItems", "CreateTable", "Query"} <= asked
    # A transaction needs the permissions of its actions, one of which is no operation of its own.
    at_creation = {"CreateTable", "UpdateContinuousBackups"}
    needed = asked - {"TransactWriteItems"} - at_creation | {"ConditionCheckItem"}

    work, look, create, _ = json_blocks("The permissions")

    assert actions_of(work) == sorted(f"dynamodb:{each}" for each in needed)
    assert set(actions_of(look)) < set(actions_of(work))
    wanted = {f"dynamodb:{each}" for each in (*at_creation, "TagResource", "DescribeTable")}
    assert set(actions_of(create)) == wanted


def actions_of(policy):
    [statement] = policy["Statement"]
    return statement["Action"]


class Permitted:
    """Refuses, as AWS does, what a policy does not allow, and keys outside of its namespaces."""

    def __init__(self, model, actions, leading="*"):
        self.model, self.actions, self.leading = model, actions, leading

    async def call(self, operation, parameters):
        for action, keys in requests_of(operation, parameters):
            if f"dynamodb:{action}" not in self.actions:
                raise Refused("AccessDeniedException", action)
            for key in keys:
                if not fnmatch(key, self.leading):
                    raise Refused("AccessDeniedException", f"{action} of {key}")
        return await self.model.call(operation, parameters)


def requests_of(operation, parameters):
    """The actions that a request needs, each with the partitions that it names."""
    if operation == "TransactWriteItems":
        names = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}
        for action in parameters["TransactItems"]:
            [(kind, each)] = action.items()
            key = each.get("Item") or each["Key"]
            yield names.get(kind, "ConditionCheckItem"), [key["pk"]["S"]]
    elif operation == "Query":
        yield operation, [parameters["ExpressionAttributeValues"][":p"]["S"]]
    elif operation == "BatchWriteItem":
        [requests] = parameters["RequestItems"].values()
        bodies = [next(iter(each.values())) for each in requests]
        yield operation, [(each.get("Item") or each["Key"])["pk"]["S"] for each in bodies]
    elif operation == "BatchGetItem":
        [request] = parameters["RequestItems"].values()
        yield operation, [key["pk"]["S"] for key in request["Keys"]]
    else:
        key = parameters.get("Item") or parameters.get("Key") or {}
        yield operation, [key["pk"]["S"]] if key else []


def orders():
    app = perdure.Registry()

    @app.activity
    async def work(text: str) -> str:
        return text

    @app.orchestration
    async def order(ctx: perdure.OrchestrationContext, text: str) -> str:
        event = await ctx.schedule_wait("go", str)
        await ctx.schedule_timer(timedelta(milliseconds=10))
        # Long enough for chunks.
        return await ctx.schedule_activity(work, event + text * 5000)

    return app


async def run_an_order(provider):
    async with perdure.Runtime(provider, orders()):
        client = perdure.Client(provider)
        await client.start_orchestration("order", "order", '"x"')
        await client.raise_event("order", "go", '"y"')
        return await client.wait_for_orchestration("order")


async def opened_with(stack, model, policy, *, namespace="shop", leading="*"):
    transport = Permitted(model, actions_of(policy), leading)
    options = DynamoDBOptions(table="Orders", namespace=namespace)
    return await stack.enter_async_context(open_on(transport, options, clock=SystemClock()))


async def test_workers_and_clients_need_no_more_than_the_policy_and_the_keys_of_their_namespace():
    work, _, _, condition = json_blocks("The permissions")
    [leading] = condition["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
    model = ModelCalls()
    async with AsyncExitStack() as stack:
        provider = await opened_with(stack, model, work, leading=leading)

        assert isinstance(await run_an_order(provider), perdure.Completed)

        with pytest.raises(StorageFailed, match="AccessDenied"):
            await opened_with(stack, model, work, namespace="bank", leading=leading)


async def test_a_dashboard_looks_with_the_policy_of_a_reader_and_writes_nothing():
    work, look, _, _ = json_blocks("The permissions")
    model = ModelCalls()
    async with AsyncExitStack() as stack:
        await run_an_order(await opened_with(stack, model, work))
        client = perdure.Client(await opened_with(stack, model, look))

        assert (await client.get_system_metrics()).completed_instances == 1
        assert (await client.get_queue_depths()).worker_queue == 0
        assert len(await client.read_execution_history("order", 1)) > 3
        with pytest.raises(StorageFailed, match="AccessDenied"):
            await client.start_orchestration("another", "order", '"x"')


def test_the_templates_make_the_table_that_the_command_makes():
    [block] = json_blocks("The table")
    [resource] = block["Resources"].values()
    made = definition("Orders", {"service": "orders"})
    more = {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}

    assert resource["Properties"] == {**made, **more}
    attributes = json.dumps(list(PROJECTED))
    assert TEXT.count(attributes) == 3


def test_every_option_has_its_line():
    fields = set(DynamoDBOptions.model_fields) - {"table"}

    assert options_of(TEXT) == fields
    assert options_of(README) == fields


def test_every_error_has_its_line():
    errors = {
        name
        for name in perdure_dynamodb.__all__
        if issubclass(getattr(perdure_dynamodb, name), ProviderError)
    }

    assert {name for name in errors if f"| `{name}` |" in TEXT} == errors
    assert len(errors) == 5


def test_the_numbers_are_those_of_the_code():
    for said in (
        f"| `shards` | {DEFAULT_SHARDS} |",
        f"| shards | {MOST_SHARDS} |",
        f"above {INLINE_LIMIT // 1024} KB it is kept in parts of {CHUNK_BYTES // 1000} KB",
        f"one transaction ({TRANSACTION_LIMIT} actions)",
        f"| activities that one commit finishes | {FINISH_LIMIT} |",
        f"repeated up to {ATTEMPTS} times",
        f"within {REFRESH.seconds} seconds",
        f"{GRACE.seconds} seconds after the growth",
    ):
        assert said in EVERYTHING, said
    assert (LONGEST_LEASE + ALLOWED_SKEW).seconds == 6 * 60
    assert "more than six minutes ahead" in EVERYTHING
