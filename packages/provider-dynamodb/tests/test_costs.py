"""What operations cost: the budget of a step, and the table in the documentation."""

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import perdure
import pytest
from perdure.clock import SystemClock
from perdure.contract import ManualClock, ProviderUrl
from perdure_dynamodb import DynamoDBOptions
from perdure_dynamodb.__main__ import main
from perdure_dynamodb._aws import aws_calls
from perdure_dynamodb._opening import open_on
from perdure_dynamodb._schema import create_table
from perdure_dynamodb.testing.costs import TITLE, Cost, measure
from perdure_dynamodb.testing.metering import MeteringCalls

DOCUMENT = Path(__file__).parents[3] / "docs" / "explain" / "dynamodb-internals.md"
STEPS = 200


@asynccontextmanager
async def local_calls(url):
    options = DynamoDBOptions.from_url(ProviderUrl.parse(url))
    async with aws_calls(options) as calls:
        await create_table(calls, options.table, clock=SystemClock())
        yield calls, options.model_copy(update={"namespace": f"costs-{uuid4().hex}"})


@pytest.mark.slow
async def test_a_step_is_one_request_and_six_write_units_however_long_the_history(
    dynamodb_url,
):
    app = perdure.Registry()
    bills = []
    reached = asyncio.Event()

    @app.activity
    async def step(number: int) -> int:
        bills.append(calls.take())
        if number == STEPS:
            reached.set()
        return number + 1

    @app.orchestration
    async def chain(ctx: perdure.OrchestrationContext) -> int:
        number = 0
        for _ in range(STEPS + 1):
            number = await ctx.schedule_activity(step, number)
        return number

    async with local_calls(dynamodb_url) as (local, options):
        calls = MeteringCalls(local)
        # The clock stands, so no runtime looks for work unless it was announced.
        async with (
            open_on(calls, options, clock=ManualClock()) as provider,
            perdure.Runtime(provider, app),
        ):
            client = perdure.Client(provider)
            await client.start_orchestration("chain", chain)
            await reached.wait()
            assert await client.wait_for_orchestration("chain") == perdure.Completed(
                output=str(STEPS + 1)
            )

    def reads(first, last):
        return [bill.read_units for bill in bills[first:last]]

    steps = bills[10:200]
    assert {bill.total for bill in steps} == {1}, steps
    assert max(bill.write_units for bill in steps) <= 6, steps
    assert sum(bill.looks for bill in steps) == 0, steps
    assert reads(10, 60) == reads(150, 200)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shards", "interval", "units", "said"),
    [
        (4, 1.0, 4, "with 4 shards 4 RCU a second"),
        (2, 0.25, 8, "With 2 shards and a quarter of a second it is 8 RCU a second"),
    ],
)
async def test_an_idle_process_reads_what_the_document_says(
    shards, interval, units, said, model, clock
):
    calls = MeteringCalls(model)
    app = perdure.Registry()
    options = DynamoDBOptions(table="model", shards=shards)
    pace = timedelta(seconds=interval)

    @app.activity
    async def nothing() -> None: ...

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> None: ...

    async def pass_seconds(count):
        for _ in range(round(count / interval)):
            clock.advance(pace)
            for _ in range(30):
                await asyncio.sleep(0)

    async with (
        open_on(calls, options, clock=clock) as provider,
        perdure.Runtime(provider, app, options=perdure.RuntimeOptions(poll_interval=pace)),
    ):
        await pass_seconds(30)
        calls.take()
        await pass_seconds(120)
        bill = calls.take()

    assert bill.write_units == 0
    assert (bill.read_units + bill.look_units) / 120 == pytest.approx(units, rel=0.1)
    assert said in DOCUMENT.read_text(encoding="utf-8")


class ComparedCalls:
    """Asks DynamoDB Local what a request consumed, and compares it with the rules."""

    def __init__(self, local):
        self._local = local
        self._metered = MeteringCalls(self)
        self._said = []

    async def call(self, operation, parameters):
        if "ReturnConsumedCapacity" in parameters:
            answer = await self._local.call(operation, parameters)
            self._said.append(answer["ConsumedCapacity"]["CapacityUnits"])
            return answer
        # A look past the counters, or a kind of request that Local charges wrongly.
        return await self._local.call(operation, parameters)

    async def compare(self, operation, parameters):
        self._said.clear()
        self._metered.take()
        await self._metered.call(operation, {**parameters, "ReturnConsumedCapacity": "TOTAL"})
        bill = self._metered.take()
        charged = bill.write_units + bill.read_units + bill.look_units
        assert self._said[0] == charged, (operation, parameters)


@pytest.mark.slow
async def test_the_rules_charge_as_dynamodb_local_does_where_it_is_right(dynamodb_url):
    async with local_calls(dynamodb_url) as (local, options):
        compared = ComparedCalls(local)
        table = {"TableName": options.table}
        partition = {"S": options.namespace}

        def item(sort, *, size=0, place=None):
            shown = {} if place is None else {"gpk": partition, "gsk": {"S": place}}
            return {"pk": partition, "sk": {"S": sort}, "dat": {"B": b"x" * size}, **shown}

        def query(**more):
            return {
                **table,
                "KeyConditionExpression": "pk = :p",
                "ExpressionAttributeValues": {":p": partition},
                **more,
            }

        for number, size in enumerate((0, 900, 1100, 5000, 100_000)):
            await compared.compare("PutItem", {**table, "Item": item(str(number), size=size)})
            key = {"pk": partition, "sk": {"S": str(number)}}
            await compared.compare("GetItem", {**table, "Key": key, "ConsistentRead": True})
        for place in ("a", "a", "b", None, "c"):
            await compared.compare(
                "PutItem", {**table, "Item": item("placed", size=2000, place=place)}
            )
        change = {
            "UpdateExpression": "SET nam = :n",
            "ExpressionAttributeValues": {":n": {"S": "n"}},
        }
        placed = {"pk": partition, "sk": {"S": "placed"}}
        await compared.compare("UpdateItem", {**table, "Key": placed, **change})
        await compared.compare("Query", query(ConsistentRead=True))
        await compared.compare("Query", query(ConsistentRead=True, ProjectionExpression="pk, sk"))
        await compared.compare("DeleteItem", {**table, "Key": placed})


def documented():
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = text[text.index(TITLE) + len(TITLE) + 1 :].split("\n\n")[0].splitlines()
    for line in lines:
        operation, *figures = re.split(r" *\| *", line.strip("| "))
        requests, write_units, read_units = map(float, figures)
        yield Cost(
            operation=operation,
            requests=requests,
            write_units=write_units,
            read_units=read_units,
        )


def differences(found, wanted):
    """What differs by more than a little; keys and numbers may be a few bytes longer or shorter."""
    assert [cost.operation for cost in found] == [cost.operation for cost in wanted]
    return [
        (str(one), str(other))
        for one, other in zip(found, wanted, strict=True)
        for name in ("requests", "write_units", "read_units")
        if abs(getattr(one, name) - getattr(other, name)) > 0.02 * getattr(other, name)
    ]


@pytest.mark.slow
async def test_the_documents_figures_are_those_of_the_model(model):
    costs = await measure(model, "model")

    assert differences(costs, list(documented())) == []
    assert model.items == {}


@pytest.mark.slow
def test_the_command_counts_on_a_table_what_the_document_says(dynamodb_url, capsys):
    assert main(["costs", dynamodb_url]) == 0

    document = DOCUMENT.read_text(encoding="utf-8")
    said = capsys.readouterr().out.splitlines()
    missing = [line for line in said if line not in document]
    assert [line for line in missing if "1,000 activities" not in line] == []
