"""On a real DynamoDB Local: large fans, crashes between two requests, and odd names."""

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import perdure
import pytest
from perdure.clock import SystemClock
from perdure.contract import ManualClock, ProviderUrl
from perdure_dynamodb import DynamoDBOptions, _commits, _manifest
from perdure_dynamodb._opening import checked_calls, open_on
from perdure_dynamodb._transport import Unanswered
from perdure_dynamodb.testing.faults import FaultyCalls

pytestmark = pytest.mark.slow

ODD = (
    "#",
    "~",
    "/",
    "a#b",
    "a%23b",
    "a~b/c#",
    "!config",
    "I#a",
    "ünïcode ☃ 🦆",
    '"quoted" \\ back',
    "x" * 512,
    "☃" * 170,
)


async def at_once(seconds):
    """Instead of a pause between two attempts of a request."""
    del seconds


def program():
    app = perdure.Registry()

    @app.activity
    async def double(number: int) -> int:
        return 2 * number

    @app.orchestration
    async def fan(ctx: perdure.OrchestrationContext, width: int) -> int:
        return sum(await asyncio.gather(*(ctx.schedule_activity(double, n) for n in range(width))))

    return app


@asynccontextmanager
async def calls_to(url):
    options = DynamoDBOptions.from_url(ProviderUrl.parse(url))
    async with checked_calls(options, clock=SystemClock()) as calls:
        yield calls, options.model_copy(update={"namespace": uuid4().hex})


async def test_a_fan_of_a_thousand_activities_ends_right(dynamodb_url):
    url = f"{dynamodb_url}&namespace={uuid4().hex}&direct=true"
    async with (
        perdure.open_provider(url) as provider,
        perdure.Runtime(provider, program()),
    ):
        client = perdure.Client(provider)
        await client.start_orchestration("fan", "fan", "1000")
        status = await client.wait_for_orchestration("fan", timeout=timedelta(minutes=4))
        assert status == perdure.Completed(output="999000")
        depths = await client.get_queue_depths()
        assert (depths.orchestrator_queue, depths.worker_queue) == (0, 0)


@pytest.mark.parametrize("requests", [1, 5])
async def test_a_staged_turn_is_taken_up_by_another_after_a_crash(
    dynamodb_url, monkeypatch, requests
):
    # Every turn of a few changes is staged, in batches of a few.
    monkeypatch.setattr(_commits, "TRANSACTION_LIMIT", 3)
    monkeypatch.setattr(_manifest, "BATCH_WEIGHT", 4)
    left, died, is_dead = requests, asyncio.Event(), True

    def dying(operation, parameters):
        """Die so many requests after the first manifest."""
        nonlocal left
        if left < requests or operation == "BatchWriteItem":
            left -= 1
        if left < 0 and is_dead:
            died.set()
            raise Unanswered("the process is dead")

    async with calls_to(dynamodb_url) as (calls, options):
        clock, app = ManualClock(), program()
        faulty = FaultyCalls(calls, dying)
        async with (
            open_on(faulty, options, clock=clock, pause=at_once) as first,
            perdure.Runtime(first, app),
        ):
            await perdure.Client(first).start_orchestration("fan", "fan", "20")
            await died.wait()
            async with open_on(calls, options, clock=clock) as second, perdure.Runtime(second, app):
                client = perdure.Client(second)
                waiting = asyncio.ensure_future(client.wait_for_orchestration("fan"))
                while not waiting.done():
                    clock.advance(timedelta(seconds=1))
                    await asyncio.wait([waiting], timeout=0.02)
                assert waiting.result() == perdure.Completed(output="380")
                history = await client.read_execution_history("fan", 1)
            is_dead = False
    kinds = [type(event).__name__ for event in history]
    assert (kinds.count("ActivityScheduled"), kinds.count("ActivityCompleted")) == (20, 20)


async def test_odd_names_are_never_taken_for_one_another(dynamodb_url):
    app = perdure.Registry()

    @app.activity(name=ODD[-1])
    async def tell(text: str) -> str:
        return text

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext, name: str) -> list[str]:
        told = await ctx.schedule_activity(tell, name)
        return [told, await ctx.schedule_wait(name, str)]

    async with calls_to(dynamodb_url) as (calls, options):
        prefix = options.namespace

        async def run(namespace):
            chosen = options.model_copy(update={"namespace": prefix + namespace})
            async with (
                open_on(calls, chosen, clock=SystemClock()) as provider,
                perdure.Runtime(provider, app),
            ):
                client = perdure.Client(provider)
                for name in ODD:
                    await client.raise_event(name, name, f'"of {namespace[:9]}"', event_id=name)
                    await client.start_orchestration_typed(name, "flow", name)
                for name in ODD:
                    assert await client.wait_for_orchestration_typed(name, list[str]) == [
                        name,
                        f"of {namespace[:9]}",
                    ]
                page = await client.list_all_instances()
                assert sorted(page) == sorted(ODD)
                metrics = await client.get_system_metrics()
                assert metrics.completed_instances == len(ODD)

        for namespace in ODD[2:5]:
            await run(namespace)
