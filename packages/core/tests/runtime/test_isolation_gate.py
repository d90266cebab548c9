"""Suspected work that runs isolated: what it costs the work beside it, and what it must not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import perdure
import perdure_memory
import pytest
from perdure import Runtime
from perdure.contract import ActivityRequest, DelegatingProvider, LeasedActivity
from perdure.runtime.isolation_gate import IsolationGate
from perdure.runtime.provider_guard import GuardedProvider

from .manual_time import until

SECOND = timedelta(seconds=1)


@pytest.fixture
def gate(clock):
    return IsolationGate(clock)


async def turned_away(gate: IsolationGate) -> None:
    async with gate.isolated() as is_isolated:
        assert not is_isolated


async def test_while_the_process_empties_nothing_more_is_leased_until_it_is_empty(gate) -> None:
    assert gate.try_enter()
    await turned_away(gate)
    while_it_empties = gate.may_lease
    gate.leave()

    assert not while_it_empties
    assert gate.may_lease  # for the sake of the work that is to run isolated
    assert not gate.is_open


async def test_newcomers_are_kept_out_only_shortly_once_the_process_is_empty(gate, clock) -> None:
    assert gate.try_enter()
    await turned_away(gate)
    clock.advance(5 * SECOND)
    gate.leave()
    clock.advance(2 * SECOND - timedelta(microseconds=1))
    just_before = gate.is_open
    clock.advance(timedelta(microseconds=1))

    assert not just_before
    assert gate.is_open


async def test_work_that_has_not_begun_is_given_back_before_other_work_runs_isolated(gate) -> None:
    assert gate.try_enter()
    await turned_away(gate)
    course: list[str] = []

    async def newcomer() -> None:
        async with gate.entered() as may_begin:
            course.append(f"begins: {may_begin}")
            await asyncio.sleep(0)
            course.append("is given back")

    waiting = asyncio.ensure_future(newcomer())
    await asyncio.sleep(0)
    gate.leave()
    async with gate.isolated() as is_isolated:
        course.append(f"isolated: {is_isolated}")
        assert not gate.may_lease
    await waiting

    assert course == ["begins: False", "is given back", "isolated: True"]
    assert gate.is_open


async def test_while_something_runs_isolated_an_idle_process_takes_all_other_work(clock) -> None:
    here, elsewhere = perdure.Registry(), perdure.Registry()
    began, let = asyncio.Event(), asyncio.Event()

    @here.activity
    async def suspect() -> str:
        began.set()
        await let.wait()
        return "ended"

    @here.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> str:
        return await ctx.schedule_activity("suspect", result_type=str)

    async def short(ctx: perdure.OrchestrationContext) -> str:
        return "done"

    here.orchestration(short)
    elsewhere.orchestration(main)
    elsewhere.orchestration(short)
    url = "memory://alone"
    try:
        async with (
            perdure.open_provider(url, clock=clock) as first,
            perdure.open_provider(url, clock=clock) as second,
        ):
            client = perdure.Client(first)
            long = await client.start_orchestration("suspicious", "main")
            async with Runtime(second, elsewhere) as runtime:
                while not runtime.statistics.turns_committed:  # noqa: ASYNC110 # a commit sets no event
                    await asyncio.sleep(0)
            for number in range(5):
                request = ActivityRequest(
                    token=f"crash-{number}", limit=1, lease_for=SECOND, names=frozenset({"suspect"})
                )
                assert len(await first.lease_activities(request)) == 1
                clock.advance(2 * SECOND)
            async with Runtime(first, here), Runtime(second, elsewhere):
                await asyncio.wait_for(began.wait(), 10)
                handles = [
                    await client.start_orchestration(f"short-{number}", short)
                    for number in range(20)
                ]
                results = await asyncio.wait_for(
                    asyncio.gather(*(handle.result() for handle in handles)), 10
                )
                still_alone = isinstance(await long.status(), perdure.Running)
                let.set()
                last = await asyncio.wait_for(long.result(), 10)
    finally:
        perdure_memory.drop("alone")

    assert results == ["done"] * 20
    assert still_alone
    assert last == "ended"


async def test_a_clock_that_steps_back_does_not_keep_a_lease_for_work_that_does_not_end(
    provider, clock
) -> None:
    app = perdure.Registry()
    began, let = asyncio.Event(), asyncio.Event()

    @app.activity
    async def stuck() -> None:
        began.set()
        await let.wait()

    @app.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> int:
        ctx.schedule_activity(stuck)
        return await ctx.schedule_wait("go", int)

    async with Runtime(provider, app) as runtime:
        handle = await perdure.Client(provider).start_orchestration("i", main)
        await asyncio.wait_for(began.wait(), 10)
        while not any(run.idle_since is not None for run in runtime._turn_leases.all()):  # noqa: ASYNC110 # nothing sets an event for it
            await asyncio.sleep(0)
        clock.step_back(timedelta(minutes=10))
        stepped = clock.now()

        async def is_let_go() -> bool:
            return not runtime._turn_leases.all()

        await until(clock, is_let_go, step=SECOND / 10)
        took = clock.now() - stepped
        await handle.raise_event("go", "1")
        result = await asyncio.wait_for(handle.result(), 10)
        let.set()

    assert took <= 2_000_000
    assert result == 1


class Swallows(DelegatingProvider):
    """Answers when it is cancelled, as some drivers do."""

    async def lease_activities(self, request):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return ()


async def test_a_call_that_answers_when_it_is_ended_leaves_no_cancellation_behind(
    provider, clock
) -> None:
    guarded = GuardedProvider(Swallows(provider))
    names = frozenset({"work"})
    request = ActivityRequest(token="worker", limit=1, lease_for=SECOND, names=names)  # noqa: S106 # the token of a lease

    async def call() -> int:
        assert await guarded.lease_activities(request) == ()
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    calling = asyncio.ensure_future(call())
    ending = asyncio.ensure_future(guarded.end_hanging_calls())

    async def is_done() -> bool:
        return calling.done()

    await until(clock, is_done, step=SECOND)
    ending.cancel()

    assert calling.result() == 0


async def test_after_a_while_other_work_is_let_in_beside_what_runs_isolated(gate, clock) -> None:
    async with gate.isolated() as is_isolated:
        assert is_isolated
        await asyncio.sleep(0)
        clock.advance(timedelta(seconds=59))
        await asyncio.sleep(0)
        before = gate.try_enter()
        clock.advance(SECOND)
        await asyncio.sleep(0)
        after = gate.try_enter()
        # Nothing else can run isolated beside it.
        await turned_away(gate)

    assert (before, after) == (False, True)
    gate.leave()
    async with gate.isolated() as is_isolated:
        assert is_isolated


async def test_newcomers_are_kept_out_longer_and_more_rarely_while_it_is_in_vain(
    gate, clock
) -> None:
    assert gate.try_enter()
    kept_out: list[int] = []
    for second in range(3000):
        await turned_away(gate)
        if not gate.is_open:
            kept_out.append(second)
        clock.advance(SECOND)

    begins = [each for each in kept_out if each - 1 not in kept_out]
    assert begins == [0, 300, 900, 2100]
    assert len(kept_out) == 30 + 60 + 120 + 240


class Suspicious(DelegatingProvider):
    """Every activity that is leased was leased six times before."""

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        leased = await super().lease_activities(request)
        return [replace(each, delivery=6) for each in leased]


async def test_suspected_work_may_wait_for_an_instance_that_its_own_process_runs(
    provider, clock
) -> None:
    flows, app = perdure.Registry(), perdure.Registry()

    @app.orchestration
    async def answer(ctx: perdure.OrchestrationContext) -> int:
        return 42

    @app.activity
    async def ask() -> int:
        handle = await perdure.activity_context().client.start_orchestration("it", answer)
        return await handle.result()

    @flows.orchestration
    async def main(ctx: perdure.OrchestrationContext) -> int:
        return await ctx.schedule_activity(ask)

    async with Runtime(provider, flows), Runtime(Suspicious(provider), app):
        handle = await perdure.Client(provider).start_orchestration("main", main)

        async def has_ended() -> bool:
            return not isinstance(await handle.status(), perdure.Running)

        await until(clock, has_ended)

        assert await handle.result(timeout=1) == 42
