"""Providers whose leases, delays and dues begin or end at a slightly wrong instant."""

from dataclasses import replace
from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract import ALLOWED_SKEW, LONGEST_LEASE
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import Store

MINUTE = timedelta(minutes=1)
MILLISECOND, FULL_SECOND = 1_000, 1_000_000


class Rounds(Store):
    """Stores the ends of some calls in units of a clock that is coarser than the contract's."""

    unit = MILLISECOND
    calls = frozenset()
    call = None

    def after(self, duration):
        end = super().after(duration)
        return end - end % self.unit if self.call in self.calls else end

    def during(self, call, method, *arguments):
        self.call = call
        try:
            return method(*arguments)
        finally:
            self.call = None

    def lease_turns(self, request):
        return self.during("lease turns", super().lease_turns, request)

    def renew_turns(self, leases, lease_for):
        return self.during("renew turns", super().renew_turns, leases, lease_for)

    def release_turn(self, release):
        return self.during("release turn", super().release_turn, release)

    def settle_lease(self, row, commit):
        return self.during("keep", super().settle_lease, row, commit)

    def add_activities(self, commit):
        return self.during("add", super().add_activities, commit)

    def lease_activities(self, request):
        return self.during("lease activities", super().lease_activities, request)

    def renew_activities(self, leases, lease_for):
        return self.during("renew activities", super().renew_activities, leases, lease_for)

    def release_activity(self, release):
        return self.during("release activity", super().release_activity, release)


@breaks("LEASE-1", "LEASE-2")
class LeasesTurnsInMilliseconds(Rounds):
    calls = frozenset({"lease turns"})


@breaks("LEASE-1", "LEASE-2")
class LeasesTurnsInSeconds(Rounds):
    unit = FULL_SECOND
    calls = frozenset({"lease turns"})


@breaks("LEASE-12")
class RenewsTurnsInMilliseconds(Rounds):
    calls = frozenset({"renew turns"})


@breaks("LEASE-14")
class DelaysTurnsInMilliseconds(Rounds):
    calls = frozenset({"release turn"})


@breaks("COMMIT-21")
class KeepsLeasesInMilliseconds(Rounds):
    calls = frozenset({"keep"})


@breaks("COMMIT-11")
class AddsLeasedActivitiesInMilliseconds(Rounds):
    calls = frozenset({"add"})


@breaks("ACT-1", "ACT-2")
class LeasesActivitiesInMilliseconds(Rounds):
    calls = frozenset({"lease activities"})


@breaks("ACT-14")
class RenewsActivitiesInMilliseconds(Rounds):
    calls = frozenset({"renew activities"})


@breaks("ACT-11")
class DelaysActivitiesInMilliseconds(Rounds):
    calls = frozenset({"release activity"})


@breaks("ACT-11")
class DelaysActivitiesInSeconds(Rounds):
    unit = FULL_SECOND
    calls = frozenset({"release activity"})


@breaks("LEASE-2", "LEASE-3")
class EndsLeasesWithTheMillisecond(Store):
    """Stores exact ends, and compares them in milliseconds."""

    def lasts(self, until):
        if until is None:
            return False
        now, self.now = self.now, self.now - self.now % MILLISECOND
        try:
            return super().lasts(until - until % MILLISECOND)
        finally:
            self.now = now


@breaks("LEASE-1")
class TellsTheEndInMilliseconds(Store):
    def give_turn(self, row, request):
        turn = super().give_turn(row, request)
        return replace(turn, until=turn.until - turn.until % MILLISECOND)


@breaks("LEASE-1")
class TakesMessagesByTheMillisecond(Store):
    """A message is due from the begin of its millisecond on."""

    def is_visible(self, entry):
        visible_at = entry.message.visible_at
        return visible_at is None or visible_at - visible_at % MILLISECOND <= self.now


@breaks("ACT-4")
class TakesActivitiesByTheMillisecond(Store):
    def is_available(self, row):
        kept = row.visible_at
        row.visible_at = kept and kept - kept % MILLISECOND
        try:
            return super().is_available(row)
        finally:
            row.visible_at = kept


@breaks("ACT-4")
class TakesActivitiesAfterTheirMillisecond(Store):
    def is_available(self, row):
        kept = row.visible_at
        row.visible_at = kept and kept + MILLISECOND - kept % MILLISECOND
        try:
            return super().is_available(row)
        finally:
            row.visible_at = kept


@breaks("ACT-4")
class TakesFarActivitiesForDelays(Store):
    """Believes no due that is farther away than the longest delay."""

    def is_available(self, row):
        kept = row.visible_at
        row.visible_at = kept if self.lasts(kept) else None
        try:
            return super().is_available(row)
        finally:
            row.visible_at = kept


@breaks("ACT-1", "CALL-1")
class StampsAddedActivitiesInMilliseconds(Store):
    def give_activity(self, row, request):
        leased = super().give_activity(row, request)
        return replace(leased, added_at=leased.added_at - leased.added_at % MILLISECOND)


@breaks("ACT-11")
class TellsTheReleaseAsTheAddition(Store):
    def release_activity(self, release):
        row = self.leased_row(release.lease)
        super().release_activity(release)
        if row is not None:
            row.added_at = self.now


class Leases(Store):
    """Changes how long leases of turns last."""

    def changed(self, lease_for):
        return lease_for

    def lease_turns(self, request):
        return super().lease_turns(replace(request, lease_for=self.changed(request.lease_for)))


@breaks("LEASE-1")
class LeasesForASecondAtLeast(Leases):
    def changed(self, lease_for):
        return max(lease_for, timedelta(seconds=1))


@breaks("LEASE-1")
class LeasesForAMinuteAtMost(Leases):
    def changed(self, lease_for):
        return min(lease_for, MINUTE)


@breaks("LEASE-1")
class LeasesForFullSeconds(Leases):
    def changed(self, lease_for):
        return timedelta(seconds=max(1, round(lease_for.total_seconds())))


class Delays(Store):
    """Changes how long released turns are hidden."""

    def changed(self, delay):
        return delay

    def release_turn(self, release):
        super().release_turn(replace(release, delay=self.changed(release.delay)))


@breaks("LEASE-14")
class DelaysForASecondAtLeast(Delays):
    def changed(self, delay):
        return max(delay, timedelta(seconds=1)) if delay else delay


@breaks("LEASE-14")
class DelaysForAMinuteAtMost(Delays):
    def changed(self, delay):
        return min(delay, MINUTE)


class WorkDelays(Store):
    """Changes how long released activities are hidden."""

    def changed(self, delay):
        return delay

    def release_activity(self, release):
        super().release_activity(replace(release, delay=self.changed(release.delay)))


@breaks("ACT-11")
class DelaysWorkForASecondAtLeast(WorkDelays):
    def changed(self, delay):
        return max(delay, timedelta(seconds=1)) if delay else delay


@breaks("ACT-11")
class DelaysWorkForAMinuteAtMost(WorkDelays):
    def changed(self, delay):
        return min(delay, MINUTE)


@breaks("ACT-1")
class LeasesWorkForAMinuteAtMost(Store):
    def lease_activities(self, request):
        return super().lease_activities(replace(request, lease_for=min(request.lease_for, MINUTE)))


class Reach(Store):
    """Believes ends up to another distance."""

    reach = LONGEST_LEASE + ALLOWED_SKEW

    def lasts(self, until):
        return until is not None and self.now < until <= self.now + to_microseconds(self.reach)


@breaks("LEASE-17", "ACT-18")
class BelievesInTwoMinutesOfSkew(Reach):
    reach = LONGEST_LEASE + 2 * ALLOWED_SKEW


@breaks("LEASE-17", "ACT-18")
class BelievesInLessThanTheSkew(Reach):
    reach = LONGEST_LEASE + ALLOWED_SKEW - timedelta(microseconds=1)


@breaks("LEASE-17", "ACT-18")
class BelievesInMoreThanTheSkew(Reach):
    reach = LONGEST_LEASE + ALLOWED_SKEW + timedelta(microseconds=1)


@breaks("ACT-18")
class BelievesInLongDelaysOfActivities(Store):
    def is_available(self, row):
        return super().is_available(row) and not self.now < (row.hidden_until or 0)


@breaks("LEASE-17")
class BelievesInLongDelaysOfTurns(Store):
    def is_ready(self, row):
        return super().is_ready(row) and not self.now < (row.hidden_until or 0)


@breaks("LEASE-12")
class NeverShortensALease(Store):
    def renew_turns(self, leases, lease_for):
        before = {x: row.lease.until for x in leases if (row := self.holder(x)) is not None}
        gone = super().renew_turns(leases, lease_for)
        for lease, until in before.items():
            held = self.tables.instances[lease.instance].lease
            held.until = max(held.until, until)
        return gone


@breaks("ACT-14")
class NeverShortensALeaseOfAnActivity(Store):
    def renew_activities(self, leases, lease_for):
        before = {x: row.lease.until for x in leases if (row := self.leased_row(x)) is not None}
        gone = super().renew_activities(leases, lease_for)
        for lease, until in before.items():
            held = self.tables.activities[lease.instance, lease.activity].lease
            held.until = max(held.until, until)
        return gone


@breaks("COMMIT-21")
class NeverShortensAKeptLease(Store):
    def settle_lease(self, row, commit):
        until = row.lease.until
        super().settle_lease(row, commit)
        if row.lease is not None:
            row.lease.until = max(row.lease.until, until)


@breaks("LEASE-10")
class FindsUnregisteredAfterFiveMinutes(Store):
    """Takes the time that work has waited for a lease, and bounds it like one."""

    def is_left(self, row, request):
        if request.unregistered_for is None:
            return False
        bounded = min(request.unregistered_for, LONGEST_LEASE)
        return super().is_left(row, replace(request, unregistered_for=bounded))


@breaks("ACT-16")
class FindsUnregisteredActivitiesAfterFiveMinutes(Store):
    def is_unregistered(self, row, request):
        if request.unregistered_for is None:
            return False
        bounded = min(request.unregistered_for, LONGEST_LEASE)
        return super().is_unregistered(row, replace(request, unregistered_for=bounded))


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
