"""Tests of orchestrations: plain, over time, with fakes, and with a restart in the middle."""

import asyncio
from datetime import timedelta

import perdure
import perdure_memory

app = perdure.Registry()
runs: list[int] = []


class Bank:
    """What the activities of a test are given."""

    def __init__(self) -> None:
        self.charged: dict[str, int] = {}


@app.activity
async def double(number: int) -> int:
    return 2 * number


@app.activity
async def charge(cents: int) -> None:
    context = perdure.activity_context(Bank)
    context.resources.charged[context.idempotency_key] = cents


@app.activity
async def step(number: int) -> None:
    runs.append(number)


@app.orchestration
async def quadruple(ctx: perdure.OrchestrationContext, number: int) -> int:
    return await ctx.schedule_activity(double, await ctx.schedule_activity(double, number))


@app.orchestration
async def remind(ctx: perdure.OrchestrationContext) -> str:
    began = ctx.now()
    await asyncio.sleep(timedelta(days=30).total_seconds())
    return f"{(ctx.now() - began).days} days later"


@app.orchestration
async def pay(ctx: perdure.OrchestrationContext, cents: int) -> None:
    await ctx.schedule_activity(charge, cents)


@app.orchestration
async def two_steps(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_activity(step, 1)
    await ctx.schedule_wait("go")
    await ctx.schedule_activity(step, 2)


async def test_a_number_is_doubled_twice() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        handle = await perdure.Client(provider).start_orchestration("it", quadruple, 3)

        assert await handle.result(timeout=5) == 12


async def comes_to(client: perdure.Client, instance: str, kind: str) -> None:
    """Wait in real time until the history has an event of this kind."""
    async with asyncio.timeout(5):
        while True:
            events = await client.read_execution_history(instance, 1)
            if any(event.kind == kind for event in events):
                return
            await asyncio.sleep(0.001)


async def test_the_reminder_comes_after_a_month() -> None:
    clock = perdure.ManualClock()
    async with (
        perdure.open_provider("memory://", clock=clock) as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        handle = await client.start_orchestration("it", remind)
        await comes_to(client, "it", "TimerCreated")

        clock.advance(timedelta(days=30))

        assert await handle.result() == "30 days later"


async def test_the_bank_is_asked_once() -> None:
    bank = Bank()
    async with (
        perdure.open_provider("memory://") as provider,
        perdure.Runtime(provider, app, resources=bank),
    ):
        await (await perdure.Client(provider).start_orchestration("it", pay, 500)).result(timeout=5)

    assert list(bank.charged.values()) == [500]


async def test_a_failing_service_is_seen_by_the_orchestration() -> None:
    fakes = perdure.Registry()
    fakes.orchestration(quadruple)

    @fakes.activity(name="double")
    async def fails(number: int) -> int:
        raise ConnectionError("out of reach")

    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, fakes):
        handle = await perdure.Client(provider).start_orchestration("it", quadruple, 3)

        match await handle.wait(timeout=5):
            case perdure.Failed(details=details):
                assert "out of reach" in details.display_message()
            case perdure.Completed():
                raise AssertionError("it cannot have completed")


async def test_a_step_is_not_done_again_after_a_restart() -> None:
    async with perdure.open_provider("memory://restart") as provider:
        client = perdure.Client(provider)
        await client.start_orchestration("it", two_steps)
        async with perdure.Runtime(provider, app):
            await comes_to(client, "it", "WaitCreated")
        await client.raise_event("it", "go")
        async with perdure.Runtime(provider, app):
            await client.wait_for_orchestration("it", timeout=5)

    assert runs == [1, 2]
    perdure_memory.drop("restart")


async def main() -> None:
    await test_a_number_is_doubled_twice()
    await test_the_reminder_comes_after_a_month()
    await test_the_bank_is_asked_once()
    await test_a_failing_service_is_seen_by_the_orchestration()
    await test_a_step_is_not_done_again_after_a_restart()


asyncio.run(main())
