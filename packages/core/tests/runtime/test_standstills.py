"""A process that stands still past its leases, and goes on: nothing runs twice, nothing is blamed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import perdure
import pytest
from perdure import Runtime
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CommitAnswer,
    DelegatingProvider,
    LeasedActivity,
    LeasedTurn,
    Provider,
    TurnCommit,
    TurnLease,
    TurnRequest,
)

from .manual_time import soon, until

T = TypeVar("T")

HOUR = timedelta(hours=1)
TICK = timedelta(milliseconds=100)
"""Passes while a test waits for a loop that may not have been asleep when the clock was moved."""
OTHER = "another process"


class Tap(DelegatingProvider):
    """Holds calls of chosen kinds until they are let through, as a process that stands still does."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.closed: dict[str, asyncio.Event] = {}
        self.held: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.deliveries: list[int] = []
        self.attempts: list[int] = []

    def close(self, operation: str) -> None:
        """Hold calls of this kind from now on."""
        self.closed[operation] = asyncio.Event()

    def let(self, operation: str) -> None:
        """Let calls of this kind through."""
        self.closed.pop(operation).set()

    async def _through(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        gate = self.closed.get(operation)
        if gate is not None:
            self.held[operation] += 1
            await gate.wait()
        answer = await call()
        self.answered[operation] += 1
        return answer

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        leased = await self._through("lease_turns", lambda: self.inner.lease_turns(request))
        self.attempts += [turn.attempt for turn in leased]
        return leased

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        return await self._through("commit_turn", lambda: self.inner.commit_turn(commit))

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        leased = await self._through(
            "lease_activities", lambda: self.inner.lease_activities(request)
        )
        self.deliveries += [one.delivery for one in leased]
        return leased

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._through("complete_activity", lambda: self.inner.complete_activity(completion))

    async def release_activity(self, release: ActivityRelease) -> None:
        await self._through("release_activity", lambda: self.inner.release_activity(release))

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        return await self._through(
            "renew_activities", lambda: self.inner.renew_activities(leases, lease_for=lease_for)
        )

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        return await self._through(
            "renew_turns", lambda: self.inner.renew_turns(leases, lease_for=lease_for)
        )


class Work:
    """An activity that runs until it is told to end, and orchestrations around it."""

    def __init__(self) -> None:
        self.app = perdure.Registry()
        self.begun = 0
        self.end = asyncio.Event()

        @self.app.activity
        async def work() -> str:
            self.begun += 1
            await self.end.wait()
            return f"run {self.begun}"

        @self.app.orchestration
        async def flow(ctx: perdure.OrchestrationContext) -> str:
            return await ctx.schedule_activity(work)

        self.flow = flow


@pytest.fixture
def tap(provider) -> Tap:
    return Tap(provider.inner)


@pytest.fixture
def work() -> Work:
    return Work()


async def test_time_that_passes_takes_no_lease_from_the_runtime_that_still_runs(
    tap, work, clock
) -> None:
    async with Runtime(tap, work.app):
        handle = await perdure.Client(tap).start_orchestration("i", work.flow)
        await soon(lambda: work.begun)
        for _ in range(8):
            before = Counter(tap.answered)
            clock.advance(timedelta(days=1))
            await until(clock, lambda before=before: _more(tap.answered, before), step=TICK)
        work.end.set()

        assert await handle.result(timeout=None) == "run 1"
    assert work.begun == 1
    assert tap.deliveries == []


def _more(now: Counter[str], before: Counter[str]) -> bool:
    """Whether the runtime has renewed, and has looked for more."""
    return all(now[each] > before[each] for each in ("renew_activities", "lease_activities"))


async def test_an_activity_that_its_own_runtime_leases_again_goes_on_under_the_new_lease(
    tap, work, clock
) -> None:
    tap.close("lease_activities")
    async with Runtime(tap, work.app):
        handle = await perdure.Client(tap).start_orchestration("i", work.flow)
        await soon(lambda: work.begun and tap.held["lease_activities"])
        tap.close("renew_activities")
        clock.advance(HOUR)
        tap.let("lease_activities")
        await soon(lambda: tap.deliveries)
        tap.let("renew_activities")
        work.end.set()

        assert await handle.result(timeout=None) == "run 1"
    assert (work.begun, tap.deliveries) == (1, [2])


async def test_a_result_that_a_held_up_commit_carries_counts_under_the_new_lease(
    tap, work, clock
) -> None:
    tap.close("lease_activities")
    async with Runtime(tap, work.app):
        handle = await perdure.Client(tap).start_orchestration("i", work.flow)
        await soon(lambda: work.begun and tap.held["lease_activities"])
        tap.close("renew_activities")
        tap.close("renew_turns")
        tap.close("commit_turn")
        work.end.set()
        await soon(lambda: tap.held["commit_turn"])
        clock.advance(HOUR)
        tap.let("lease_activities")
        await soon(lambda: tap.deliveries)
        for operation in ("commit_turn", "renew_activities", "renew_turns"):
            tap.let(operation)

        assert await handle.result(timeout=None) == "run 1"
    assert (work.begun, tap.deliveries) == (1, [2])


async def test_a_result_that_is_being_stored_counts_under_the_new_lease(tap, work, clock) -> None:
    tap.close("lease_activities")
    async with Runtime(tap, work.app) as runtime:
        handle = await perdure.Client(tap).start_orchestration("i", work.flow)
        await soon(lambda: work.begun and tap.held["lease_activities"])
        await until(clock, lambda: not runtime.statistics.turns_running, step=TICK)
        tap.close("renew_activities")
        tap.close("complete_activity")
        work.end.set()
        await soon(lambda: tap.held["complete_activity"])
        clock.advance(HOUR)
        tap.let("lease_activities")
        await soon(lambda: tap.deliveries)
        tap.let("complete_activity")
        tap.let("renew_activities")

        assert await handle.result(timeout=None) == "run 1"
    assert (work.begun, tap.deliveries) == (1, [2])


async def test_a_commit_counts_however_late_while_no_other_process_took_the_instance(
    tap, work, clock
) -> None:
    work.end.set()
    tap.close("commit_turn")
    async with Runtime(tap, work.app) as runtime:
        handle = await perdure.Client(tap).start_orchestration("i", work.flow)
        # Until the loop that leases has looked again and waits: else it takes what has expired.
        await soon(lambda: tap.held["commit_turn"] and tap.answered["lease_turns"] > 1)
        clock.advance(HOUR)
        tap.let("commit_turn")

        assert await handle.result(timeout=None) == "run 1"
        assert runtime.statistics.histories_read == 0
    assert tap.attempts == [1]


async def test_a_turn_that_its_own_runtime_leases_again_is_run_again_and_committed_once(
    tap, work, clock
) -> None:
    work.end.set()
    async with Runtime(tap, work.app):
        client = perdure.Client(tap)
        tap.close("commit_turn")
        handle = await client.start_orchestration("i", work.flow)
        await soon(lambda: tap.held["commit_turn"])
        tap.close("lease_turns")
        other = await client.start_orchestration("j", work.flow)
        await soon(lambda: tap.held["lease_turns"])
        tap.close("renew_turns")
        clock.advance(HOUR)
        tap.let("lease_turns")
        await soon(lambda: 2 in tap.attempts)
        tap.let("commit_turn")
        tap.let("renew_turns")

        results = [await each.result(timeout=None) for each in (handle, other)]
        assert sorted(results) == ["run 1", "run 2"]
        history = await client.read_execution_history("i", 1)
    assert [event.kind for event in history].count("OrchestrationStarted") == 1


async def test_what_another_process_took_meanwhile_is_not_run_on_beside_it(
    tap, work, clock
) -> None:
    async with Runtime(tap, work.app):
        handle = await perdure.Client(tap).start_orchestration("i", work.flow)
        await soon(lambda: work.begun)
        tap.close("renew_activities")
        tap.close("lease_activities")
        clock.advance(HOUR)
        (taken,) = await tap.inner.lease_activities(
            ActivityRequest(
                token=OTHER,
                limit=1,
                lease_for=timedelta(seconds=30),
                names=frozenset({"work"}),
            )
        )
        work.end.set()
        await soon(lambda: tap.answered["release_activity"])

        assert isinstance(await handle.status(), perdure.Running)
        assert taken.delivery == 2
        tap.let("renew_activities")
        tap.let("lease_activities")


async def test_a_process_that_comes_back_takes_back_what_its_lost_leases_count(
    tap, work, clock
) -> None:
    async with Runtime(tap, work.app):
        handle = await perdure.Client(tap).start_orchestration("i", work.flow)
        await soon(lambda: work.begun)
        await _stand_still(tap, clock)
        await until(clock, lambda: tap.answered["release_activity"], step=TICK)
        clock.advance(timedelta(seconds=31))
        await until(clock, lambda: tap.deliveries, step=TICK)
        work.end.set()
        await handle.result(timeout=None)

    assert tap.deliveries == [2]


async def _stand_still(tap: Tap, clock: perdure.ManualClock) -> None:
    """Let the runtime stand still for so long that another takes its activity."""
    for operation in ("renew_activities", "lease_activities"):
        tap.close(operation)
    clock.advance(timedelta(minutes=2))
    (taken,) = await tap.inner.lease_activities(
        ActivityRequest(
            token=OTHER,
            limit=1,
            lease_for=timedelta(seconds=30),
            names=frozenset({"work"}),
        )
    )
    assert taken.delivery == 2
    await until(clock, lambda: tap.held["renew_activities"], step=TICK)
    tap.let("renew_activities")
    tap.let("lease_activities")
