"""Renewal in rounds: which leases are due, and when a runtime renews before it leases again."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.clock import to_microseconds
from perdure.contract import DelegatingProvider
from perdure.errors import StorageUnavailable
from perdure.runtime.renewal import LeaseRenewal
from perdure_memory import MemoryProvider

from .manual_time import until

SECOND = timedelta(seconds=1)
LENGTH = 30 * SECOND


class Renewal(LeaseRenewal):
    """Takes notes of its rounds, and fails where told to."""

    what = "turns"

    def __init__(self, clock) -> None:
        super().__init__(MemoryProvider(clock=clock), LENGTH, 5 * SECOND)
        self.rounds: list[int] = []
        self.fails = False
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def _renew(self, now: int, until: int) -> None:
        assert until == now + to_microseconds(LENGTH)
        self.rounds.append(now)
        await self.may_end.wait()
        if self.fails:
            raise StorageUnavailable("throttled", operation="renew_turns")


@pytest.fixture
def renewal(clock) -> Renewal:
    return Renewal(clock)


@pytest.mark.parametrize(
    ("left", "is_due"),
    [(30, False), (21, False), (20, False), (19, True), (-5, True), (31, True)],
)
def test_a_lease_is_due_when_a_third_of_it_is_used_up(renewal, clock, left, is_due) -> None:
    now = clock.now()
    until = now + to_microseconds(left * SECOND)

    assert renewal.is_due(until, now, to_microseconds(LENGTH) // 3) is is_due


def test_renewal_is_overdue_after_half_a_lease_without_a_round(renewal, clock) -> None:
    clock.advance(15 * SECOND)
    in_time = renewal.is_overdue
    clock.advance(timedelta(microseconds=1))

    assert not in_time
    assert renewal.is_overdue


def test_renewal_is_overdue_once_a_clock_has_stepped_back(renewal, clock) -> None:
    clock.step_back(SECOND)

    assert renewal.is_overdue


async def test_a_round_counts_from_its_beginning(renewal, clock) -> None:
    renewal.may_end.clear()
    task = asyncio.create_task(renewal.renew())
    await asyncio.sleep(0)
    clock.advance(16 * SECOND)
    renewal.may_end.set()
    await task

    assert renewal.is_overdue


async def test_a_round_that_fails_renews_nothing(renewal, clock) -> None:
    renewal.fails = True
    clock.advance(16 * SECOND)
    with pytest.raises(StorageUnavailable):
        await renewal.renew()

    assert renewal.is_overdue


async def test_rounds_go_on_after_a_failure_which_is_logged(renewal, clock, caplog) -> None:
    renewal.fails = True
    began = clock.now()
    task = asyncio.create_task(renewal.renew_for_ever())
    with caplog.at_level(logging.WARNING, logger="perdure.runtime"):
        for number in range(3):
            await asyncio.sleep(0)
            clock.advance(5 * SECOND)
            for _ in range(5):
                await asyncio.sleep(0)
            renewal.fails = number < 1
    task.cancel()

    assert renewal.rounds == [began + to_microseconds(5 * n * SECOND) for n in (1, 2, 3)]
    assert not renewal.is_overdue
    assert "renewing turns failed" in caplog.text


async def test_two_rounds_never_overlap(renewal) -> None:
    renewal.may_end.clear()
    tasks = [asyncio.create_task(renewal.renew()) for _ in range(2)]
    for _ in range(3):
        await asyncio.sleep(0)
    at_once = len(renewal.rounds)
    renewal.may_end.set()
    await asyncio.gather(*tasks)

    assert at_once == 1
    assert len(renewal.rounds) == 2


async def test_a_turn_lease_that_is_kept_for_long_is_renewed_until_its_commit_stands(
    provider, clock: perdure.ManualClock
) -> None:
    app, begun, let = perdure.Registry(), asyncio.Event(), asyncio.Event()

    class Slow(DelegatingProvider):
        renewed = 0

        async def commit_turn(self, commit):
            begun.set()
            await let.wait()
            return await super().commit_turn(commit)

        async def renew_turns(self, leases, *, lease_for: timedelta):
            self.renewed += len(leases)
            return await super().renew_turns(leases, lease_for=lease_for)

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext) -> str:
        return "done"

    provider = Slow(provider)
    async with Runtime(provider, app, options=RuntimeOptions(turn_lease=LENGTH)):
        handle = await perdure.Client(provider).start_orchestration("i", flow)
        await begun.wait()
        await until(clock, lambda: provider.renewed >= 3, step=timedelta(seconds=2))
        let.set()

        assert await handle.result(timeout=5) == "done"
