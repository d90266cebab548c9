"""Running work hears soon of a cancellation that another process has committed, at little cost."""

from __future__ import annotations

import asyncio
from collections import Counter

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.contract import ActivityLease, CancellationWait, DelegatingProvider
from perdure.errors import StorageUnavailable
from perdure.testing import Stage

from .manual_time import SECOND, pass_time, until

TICK = SECOND / 10

control, models = perdure.Registry(), perdure.Registry()


class Talk:
    """What the activities of a test tell it."""

    def __init__(self, clock: perdure.ManualClock) -> None:
        self.clock = clock
        self.contexts: dict[str, perdure.ActivityContext] = {}
        self.ended: dict[str, int] = {}


@models.activity(cancel_grace=0)
async def generate(prompt: str) -> str:
    context = perdure.activity_context()
    talk = context.resources
    assert isinstance(talk, Talk)
    talk.contexts[prompt] = context
    try:
        await asyncio.Event().wait()
    finally:
        talk.ended[prompt] = talk.clock.now()
    return "?"


@control.orchestration
async def chat(ctx: perdure.OrchestrationContext) -> None:
    answers = {name: ctx.schedule_activity("generate", name) for name in ("one", "two")}
    stop = await ctx.schedule_wait("stop", str)
    answers[stop].cancel()
    await ctx.schedule_wait("never")


async def test_an_activity_hears_within_a_second_that_another_process_cancelled_it(
    clock: perdure.ManualClock,
) -> None:
    talk = Talk(clock)
    async with (
        perdure.open_provider("memory://hears", clock=clock) as first,
        perdure.open_provider("memory://hears", clock=clock) as second,
        Runtime(first, control),
        Runtime(second, models, resources=talk),
    ):
        handle = await perdure.Client(first).start_orchestration("c", chat)
        await until(clock, lambda: len(talk.contexts) == 2, step=TICK)
        # One is stopped by its orchestration in its first second, the other ends with it.
        asked = {"one": clock.now()}
        await handle.raise_event("stop", '"one"')
        await until(clock, lambda: "one" in talk.ended, step=TICK)
        assert list(talk.ended) == ["one"]
        asked["two"] = clock.now()
        await handle.cancel("enough")
        await until(clock, lambda: "two" in talk.ended, step=TICK)

    assert all(talk.ended[name] - asked[name] < 1_000_000 for name in asked)
    assert all(context.cancel_requested for context in talk.contexts.values())


class Counted(DelegatingProvider):
    """Counts the waits and the renewals, and the leases in them."""

    def __init__(self, inner: perdure.contract.Provider) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        self.fails = False

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        self.calls["wait"] += 1
        self.calls["leases"] += len(wait.leases)
        if self.fails:
            raise StorageUnavailable("throttled", operation="wait_for_cancellation")
        return await super().wait_for_cancellation(wait)


@pytest.mark.slow
async def test_one_wait_serves_all_that_runs_and_nothing_is_asked_while_nothing_runs(
    clock: perdure.ManualClock,
) -> None:
    talk = Talk(clock)
    async with perdure.open_provider("memory://", clock=clock) as inner:
        counted, client = Counted(inner), perdure.Client(inner)
        async with (
            Runtime(inner, control),
            Runtime(counted, models, resources=talk, options=RuntimeOptions(shutdown_grace=0)),
        ):
            await pass_time(clock, 30 * SECOND, step=TICK)
            assert counted.calls["wait"] == 0
            for number in range(20):
                await client.start_orchestration(f"c{number}", chat)
            await pass_time(clock, 30 * SECOND, step=TICK)

    assert len(talk.contexts) == 2
    assert 30 <= counted.calls["wait"] <= 50
    assert counted.calls["leases"] <= 40 * counted.calls["wait"]


async def test_trouble_with_the_wait_is_outlived(clock: perdure.ManualClock) -> None:
    talk = Talk(clock)
    async with perdure.open_provider("memory://", clock=clock) as inner:
        counted, client = Counted(inner), perdure.Client(inner)
        counted.fails = True
        async with Runtime(inner, control), Runtime(counted, models, resources=talk):
            handle = await client.start_orchestration("c", chat)
            await pass_time(clock, 3 * SECOND, step=TICK)
            counted.fails = False

            await handle.raise_event("stop", '"two"')
            await pass_time(clock, 1 * SECOND, step=TICK)

            assert list(talk.ended) == ["two"]
            await handle.cancel("enough")
            await pass_time(clock, 1 * SECOND, step=TICK)


async def test_a_provider_that_cannot_tell_of_cancellations_costs_the_loop_nothing() -> None:
    app = perdure.Registry()

    @app.activity
    async def double(number: int) -> int:
        return 2 * number

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> int:
        return await ctx.schedule_activity(double, 21)

    async with perdure.open_provider("memory://") as inner:
        provider = DelegatingProvider(inner)
        provider.tells_of_cancellations = False
        async with perdure.Runtime(provider, app):
            handle = await perdure.Client(provider).start_orchestration("i", main)

            assert await handle.result(timeout=10) == 42


@control.orchestration
async def order(ctx: perdure.OrchestrationContext) -> str:
    try:
        return await ctx.schedule_activity("pay", "order", cancellation="wait")
    except asyncio.CancelledError:
        await ctx.schedule_activity("pay", "cleanup", cancellation="wait")
        raise


@models.activity
async def pay(what: str) -> str:
    """Stop when asked to; what is scheduled by a cleanup is not asked, and ends by itself."""
    context = perdure.activity_context()
    talk = context.resources
    assert isinstance(talk, Talk)
    talk.contexts[what] = context
    for _ in range(10):
        if context.cancel_requested:
            return f"{what} was asked to end"
        await talk.clock.sleep(SECOND)
    return f"{what} came to its end"


async def test_awaited_work_in_another_process_is_asked_to_end(url: str) -> None:
    stage = Stage(control, url=url)
    talk = Talk(stage.clock)
    async with stage, stage.worker(models, resources=talk):
        handle = await stage.client.start_orchestration("o", order)
        await stage.until(lambda: "order" in talk.contexts)
        await handle.cancel("enough")
        await stage.advance(3)
        assert "cleanup" in talk.contexts
        await stage.advance(12)
        assert isinstance(await handle.wait(), perdure.Failed)
        history = await stage.history("o")

    results = [event.result for event in history if event.kind == "ActivityCompleted"]
    assert results == ['"order was asked to end"', '"cleanup came to its end"']
