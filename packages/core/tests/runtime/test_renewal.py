"""When leases are renewed: after a third of their length, and before new work is leased late."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.clock import Instant
from perdure.contract import Provider
from perdure.runtime.renewal import LeaseRenewal

LEASE = timedelta(seconds=30)
SECOND = 1_000_000


class Rounds(LeaseRenewal):
    """Takes notes of its rounds, each of which takes some time."""

    what = "nothing"

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, LEASE, LEASE / 6)
        self.rounds: list[tuple[Instant, Instant]] = []
        self.gate: asyncio.Event | None = None

    async def _renew(self, now: Instant, until: Instant) -> None:
        self.rounds.append((now, until))
        if self.gate is not None:
            await self.gate.wait()


@pytest.fixture
async def renewal(clock: perdure.ManualClock):
    async with perdure.open_provider("memory://", clock=clock) as provider:
        yield Rounds(provider)


async def test_it_is_overdue_after_half_a_lease_and_after_a_clock_stepped_back(
    renewal: Rounds, clock: perdure.ManualClock
) -> None:
    clock.advance(LEASE / 2)
    in_time = renewal.is_overdue
    clock.advance(timedelta(microseconds=1))
    late = renewal.is_overdue
    await renewal.renew()
    after = renewal.is_overdue
    clock.step_back(timedelta(microseconds=1))

    assert (in_time, late, after, renewal.is_overdue) == (False, True, False, True)


async def test_a_round_counts_from_its_beginning_and_the_next_waits_for_it(
    renewal: Rounds, clock: perdure.ManualClock
) -> None:
    renewal.gate = asyncio.Event()
    began = clock.now()
    first = asyncio.ensure_future(renewal.renew())
    await asyncio.sleep(0)
    clock.advance(LEASE)  # the process stands still
    second = asyncio.ensure_future(renewal.renew())
    await asyncio.sleep(0)
    during = list(renewal.rounds)
    renewal.gate.set()
    await asyncio.gather(first, second)

    assert during == [(began, began + 30 * SECOND)]
    assert renewal.rounds[1:] == [(clock.now(), clock.now() + 30 * SECOND)]


@pytest.mark.parametrize(
    ("left", "is_due"),
    [(-1, True), (0, True), (19, True), (20, False), (30, False), (31, True)],
    ids=["expired", "ends now", "a third used up", "young", "new", "the clock stepped back"],
)
async def test_a_lease_is_due_when_a_third_is_used_up_or_its_end_cannot_be(
    renewal: Rounds, left: int, is_due: bool
) -> None:
    now = 1_000 * SECOND

    assert renewal.is_due(now + left * SECOND, now, 10 * SECOND) is is_due


async def test_a_turn_lease_that_is_kept_for_long_is_renewed_until_its_commit_stands(
    timed_provider, clock: perdure.ManualClock, pass_time
) -> None:
    app, begun, let = perdure.Registry(), asyncio.Event(), asyncio.Event()

    class Slow(perdure.contract.DelegatingProvider):
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

    provider = Slow(timed_provider)
    async with Runtime(provider, app, options=RuntimeOptions(turn_lease=LEASE)):
        handle = await perdure.Client(provider).start_orchestration("i", flow)
        await begun.wait()
        await pass_time(lambda: provider.renewed >= 3, step=timedelta(seconds=2))
        let.set()

        assert await handle.result(timeout=5) == "done"
