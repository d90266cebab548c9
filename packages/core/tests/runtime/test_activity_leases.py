"""The register of activity leases: states, owners, and what is renewed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
import pytest
from perdure import RuntimeOptions
from perdure.contract import ActivityLease, DelegatingProvider
from perdure.runtime.activity_leases import (
    ActivityLeases,
    ActivityRenewal,
    HeldActivity,
    LeaseState,
)
from perdure.runtime.bytes_in_flight import Share

SECOND = 1_000_000


def activity(id: str = "1:2", *, under: str = "a lease", instance: str = "i") -> HeldActivity:
    return HeldActivity(
        instance, "incarnation", 1, id, "work", None, under, 30 * SECOND, 1, 0, stored=b"{}"
    )


@pytest.fixture
def leases() -> ActivityLeases:
    return ActivityLeases(Share(1))


def due(leases: ActivityLeases) -> list[HeldActivity]:
    return list(leases.to_renew(lambda until: True).values())


def test_a_lease_is_renewed_from_its_beginning_until_its_result_is_stored(leases) -> None:
    held, before = activity(), due(leases)
    leases.begin(held, 0)
    running = due(leases)
    leases.hand_over(held)
    handed_over = due(leases)
    leases.release(held)

    assert (before, running, handed_over, due(leases)) == ([], [held], [held], [])
    assert held.state is LeaseState.RELEASED


def test_what_is_not_wanted_any_more_is_not_renewed(leases) -> None:
    held = activity()
    leases.begin(held, 0)
    held.is_wanted = False

    assert due(leases) == []


def test_only_a_running_activity_can_be_handed_over(leases) -> None:
    held = activity()
    with pytest.raises(AssertionError, match="handed over while it is"):
        leases.hand_over(held)
    leases.begin(held, 0)
    leases.hand_over(held)
    with pytest.raises(AssertionError, match="handed over while it is"):
        leases.hand_over(held)


def test_a_second_release_changes_nothing_of_a_newer_lease_of_the_same_activity(leases) -> None:
    older, newer = activity(under="old"), activity(under="new")
    leases.begin(older, 0)
    older.is_wanted = False
    leases.begin(newer, 1)
    found = leases.find(activity(under="any"))
    leases.release(older)
    leases.release(older)

    assert found is newer
    assert leases.find(older) is newer
    assert leases.running() == [newer]
    assert due(leases) == [newer]


def test_of_an_instance_only_what_runs_is_told(leases) -> None:
    running, ended, other = activity("1:2"), activity("1:3"), activity(instance="other")
    for held in (running, ended, other):
        leases.begin(held, 0)
    leases.hand_over(ended)

    assert list(leases.running_of("i")) == [running]
    assert len(leases) == 2


def test_an_adopted_lease_is_renewed_under_its_new_token_with_the_old_count(leases) -> None:
    held, again = activity(under="old"), activity(under="new")
    again.until, again.delivery = 90 * SECOND, 2
    leases.begin(held, 0)
    held.adopt(again)

    assert list(leases.to_renew(lambda until: until == 90 * SECOND)) == [held.lease]
    assert held.lease == again.lease
    assert held.delivery == 1


async def test_the_wait_for_old_activities_lasts_until_one_runs(leases) -> None:
    now = 0
    waiting = asyncio.ensure_future(leases.begun_before(lambda: now))
    await asyncio.sleep(0)
    idle = waiting.done()
    old, young = activity("1:2"), activity("1:3")
    leases.begin(old, 0)
    leases.begin(young, 5)
    found = await waiting

    assert not idle
    assert list(found.values()) == [old]


async def test_a_renewal_during_which_an_activity_adopts_another_lease_leaves_that_alone(
    leases, clock: perdure.ManualClock
) -> None:
    held, lost = activity(under="old"), list[ActivityLease]()
    held.until = clock.now()
    leases.begin(held, clock.now())

    class Slow(DelegatingProvider):
        async def renew_activities(self, leases, *, lease_for: timedelta):
            again = activity(under="new")
            again.until = clock.now() + 77
            held.adopt(again)
            return frozenset()

    async with perdure.open_provider("memory://", clock=clock) as provider:
        renewal = ActivityRenewal(Slow(provider), leases, RuntimeOptions(), lost=lost.extend)
        await renewal.renew()

    assert held.until == clock.now() + 77
    assert lost == []


async def test_a_renewal_notes_new_ends_and_tells_what_is_lost(
    leases, clock: perdure.ManualClock
) -> None:
    kept, gone, told = activity("1:2"), activity("1:3"), list[ActivityLease]()
    for held in (kept, gone):
        held.until = clock.now()
        leases.begin(held, clock.now())

    class Losing(DelegatingProvider):
        async def renew_activities(self, leases, *, lease_for: timedelta):
            return frozenset({gone.lease})

    async with perdure.open_provider("memory://", clock=clock) as provider:
        options = RuntimeOptions(activity_lease=timedelta(seconds=9))
        renewal = ActivityRenewal(Losing(provider), leases, options, lost=told.extend)
        await renewal.renew()

    assert kept.until == clock.now() + 9 * SECOND
    assert gone.until == clock.now()
    assert told == [gone.lease]
