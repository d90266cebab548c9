"""Running work hears soon of a cancellation that another process has committed, at little cost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.contract import ActivityLease, CancellationWait, DelegatingProvider
from perdure.errors import StorageUnavailable

control, models = perdure.Registry(), perdure.Registry()


class Talk:
    """What the activities of a test tell it."""

    def __init__(self) -> None:
        self.contexts: dict[str, perdure.ActivityContext] = {}
        self.ended: dict[str, float] = {}


@models.activity(cancel_grace=0)
async def generate(prompt: str) -> str:
    context = perdure.activity_context()
    talk = context.resources
    assert isinstance(talk, Talk)
    talk.contexts[prompt] = context
    try:
        await asyncio.Event().wait()
    finally:
        talk.ended[prompt] = time.monotonic()
    return "?"


@control.orchestration
async def chat(ctx: perdure.OrchestrationContext) -> None:
    answers = {name: ctx.schedule_activity("generate", name) for name in ("one", "two")}
    stop = await ctx.schedule_wait("stop", str)
    answers[stop].cancel()
    await ctx.schedule_wait("never")


@pytest.mark.slow
async def test_an_activity_hears_long_before_a_renewal_that_another_process_cancelled_it(
    tmp_path, eventually
) -> None:
    url, talk = f"sqlite:///{tmp_path / 'shared.db'}", Talk()
    async with (
        perdure.open_provider(url) as first,
        perdure.open_provider(url) as second,
        Runtime(first, control),
        Runtime(second, models, resources=talk),
    ):
        handle = await perdure.Client(first).start_orchestration("c", chat)
        await eventually(lambda: len(talk.contexts) == 2)
        # One is stopped by its orchestration in its first second, the other ends with it.
        asked = {"one": time.monotonic()}
        await handle.raise_event("stop", '"one"')
        await eventually(lambda: "one" in talk.ended)
        assert list(talk.ended) == ["one"]
        asked["two"] = time.monotonic()
        await handle.cancel("enough")
        await eventually(lambda: "two" in talk.ended)

    # A second where the machine has nothing else to do; a renewal comes after ten.
    assert all(talk.ended[name] - asked[name] < 5 for name in asked)
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


async def pass_time(clock: perdure.ManualClock, seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        clock.advance(timedelta(milliseconds=100))
        for _ in range(30):
            await asyncio.sleep(0)


async def test_one_wait_serves_all_that_runs_and_nothing_is_asked_while_nothing_runs(
    clock: perdure.ManualClock,
) -> None:
    talk = Talk()
    async with perdure.open_provider("memory://", clock=clock) as inner:
        counted, client = Counted(inner), perdure.Client(inner)
        async with (
            Runtime(inner, control),
            Runtime(counted, models, resources=talk, options=RuntimeOptions(shutdown_grace=0)),
        ):
            await pass_time(clock, 30)
            assert counted.calls["wait"] == 0
            for number in range(20):
                await client.start_orchestration(f"c{number}", chat)
            await pass_time(clock, 30)

    assert len(talk.contexts) == 2
    assert 30 <= counted.calls["wait"] <= 50
    assert counted.calls["leases"] <= 40 * counted.calls["wait"]


async def test_trouble_with_the_wait_is_outlived(clock: perdure.ManualClock) -> None:
    talk = Talk()
    async with perdure.open_provider("memory://", clock=clock) as inner:
        counted, client = Counted(inner), perdure.Client(inner)
        counted.fails = True
        async with Runtime(inner, control), Runtime(counted, models, resources=talk):
            handle = await client.start_orchestration("c", chat)
            await pass_time(clock, 3)
            counted.fails = False

            await handle.raise_event("stop", '"two"')
            await pass_time(clock, 1)

            assert list(talk.ended) == ["two"]
            await handle.cancel("enough")
            await pass_time(clock, 1)


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
    for _ in range(100 if what == "cleanup" else 100_000):
        if context.cancel_requested:
            return f"{what} was asked to end"
        await asyncio.sleep(0)
    return f"{what} came to its end"


@pytest.mark.parametrize("url", ["memory://ask", "sqlite:///ask.db"])
async def test_awaited_work_in_another_process_is_asked_to_end(
    url: str, clock: perdure.ManualClock, eventually, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    talk = Talk()
    async with (
        perdure.open_provider(url, clock=clock) as first,
        perdure.open_provider(url, clock=clock) as second,
        Runtime(first, control),
        Runtime(second, models, resources=talk),
    ):
        client = perdure.Client(first)
        handle = await client.start_orchestration("o", order)

        async def passes(done) -> None:
            async def moved() -> bool:
                clock.advance(timedelta(milliseconds=200))
                return await done() if asyncio.iscoroutinefunction(done) else done()

            await eventually(moved)

        await passes(lambda: "order" in talk.contexts)
        await handle.cancel("enough")

        async def ended() -> bool:
            return isinstance(await handle.status(), perdure.Failed)

        await passes(ended)
        history = await client.read_execution_history("o", 1)

    results = [event.result for event in history if event.kind == "ActivityCompleted"]
    assert results == ['"order was asked to end"', '"cleanup came to its end"']
