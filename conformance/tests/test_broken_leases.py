"""Providers that lease turns wrongly, twice or never."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from perdure.contract import InstanceStatus
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model.tables import Lease


@breaks("LEASE-1", "COMMIT-23")
class LeasesWithoutAMessage(Store):
    def is_ready(self, row):
        return row.state.status is InstanceStatus.RUNNING and not self.is_live(row.lease)

    def waiting_since(self, row):
        return (row.state.created_at, row.created)


@breaks("LEASE-1")
class LeasesForAMinute(Store):
    def lease_turns(self, request):
        return super().lease_turns(replace(request, lease_for=timedelta(minutes=1)))


@breaks("LEASE-2", "LEASE-18")
class LeasesToAllCallers(Store):
    def is_ready(self, row):
        held, row.lease = row.lease, None
        ready = super().is_ready(row)
        row.lease = held
        return ready


@breaks("LEASE-2")
class EndsLeasesASecondEarly(Store):
    def lasts(self, until):
        return super().lasts(None if until is None else until - 1_000_000)


@breaks("LEASE-3", "COMMIT-2", "ACT-2", "LEASE-14")
class EndsNoLease(Store):
    def lasts(self, until):
        return until is not None


@breaks("LEASE-3", "ACT-2")
class EndsLeasesAnInstantLate(Store):
    def lasts(self, until):
        return super().lasts(None if until is None else until + 1)


@breaks("LEASE-4")
class IgnoresTheLimit(Store):
    def lease_turns(self, request):
        return super().lease_turns(replace(request, limit=1000))


@breaks("LEASE-4")
class LooksAtTheFirstThree(Store):
    def lease_turns(self, request):
        everything = self.tables.instances
        self.tables.instances = dict(sorted(everything.items())[:3])
        try:
            return super().lease_turns(request)
        finally:
            self.tables.instances = everything


@breaks("LEASE-5", "COMMIT-20")
class IgnoresPins(Store):
    def serves(self, row, request):
        return row.state.name in request.serves.orchestrations


@breaks("LEASE-5")
class IgnoresNames(Store):
    def serves(self, row, request):
        versions = [v for each in request.serves.orchestrations.values() for v in each]
        return row.state.version is None or row.state.version in versions


@breaks("LEASE-5")
class RefusesWhoServesNoVersion(Store):
    def serves(self, row, request):
        return (
            super().serves(row, request)
            and "1.0.0" in request.serves.orchestrations[row.state.name]
        )


@breaks("LEASE-6")
class RunsNewerEngines(Store):
    def serves(self, row, request):
        return request.serves.accepts(row.state.name, row.state.version)


@breaks("LEASE-6")
class FindsNewerEnginesUnregistered(Store):
    def is_left(self, row, request):
        served = replace(request, serves=replace(request.serves, engine=1000))
        return super().is_left(row, served)


@breaks("LEASE-7")
class ForgetsItsTokens(Store):
    def lease_turns(self, request):
        return super().lease_turns(replace(request, token=f"{request.token} {self.count()}"))


@breaks("LEASE-7")
class CountsRepeatedLeases(Store):
    def give_turn(self, row, request):
        if self.is_held(row.lease, request.token):
            row.attempt += 1
        return super().give_turn(row, request)


@breaks("LEASE-7")
class ExtendsRepeatedLeases(Store):
    def give_turn(self, row, request):
        super().give_turn(row, request)
        row.lease.until = self.after(request.lease_for)
        return super().give_turn(row, request)


@breaks("LEASE-7", "LEASE-4")
class LeasesMoreThanTheLimitWithItsOwn(Store):
    def lease_turns(self, request):
        held = sum(self.is_held(row.lease, request.token) for row in self.tables.instances.values())
        return super().lease_turns(replace(request, limit=request.limit + max(held, 1)))


@breaks("LEASE-8")
class ForgetsTheAttemptWithTheLease(Store):
    def give_turn(self, row, request):
        if row.lease is not None and not self.is_live(row.lease):
            row.attempt = 0
            row.lease = Lease("", 2**60)
        return super().give_turn(row, request)


@breaks("LEASE-8", "COMMIT-23", "MODEL-1")
class CountsOverCommits(Store):
    def settle_lease(self, row, commit):
        attempt = row.attempt
        super().settle_lease(row, commit)
        row.attempt = attempt


@breaks("LEASE-8", "COMMIT-21")
class ResetsTheAttemptOfKeptLeases(Store):
    def settle_lease(self, row, commit):
        super().settle_lease(row, commit)
        row.attempt = 0


@breaks("LEASE-9")
class PrefersNames(Store):
    def waiting_since(self, row):
        return (0, row.state.instance)

    def is_left(self, row, request):
        return False


@breaks("LEASE-9")
class PrefersTheNewest(Store):
    def waiting_since(self, row):
        return tuple(-part for part in super().waiting_since(row))


@breaks("LEASE-10")
class FindsUnregisteredAtOnce(Store):
    def is_left(self, row, request):
        if request.unregistered_for is None:
            return False
        return super().is_left(row, replace(request, unregistered_for=timedelta(0)))


@breaks("LEASE-10")
class FindsNothingUnregistered(Store):
    def is_left(self, row, request):
        return False


@breaks("LEASE-10")
class FindsUnregisteredUnasked(Store):
    def is_left(self, row, request):
        return super().is_left(
            row, replace(request, unregistered_for=request.unregistered_for or timedelta(minutes=1))
        )


@breaks("LEASE-10")
class ForgetsReleasesOfUnregistered(Store):
    def waiting_since(self, row):
        return (
            min(entry.due for entry in self.unsorted_visible(row.state.instance)),
            row.created,
        )


@breaks("LEASE-10")
class CallsEverythingServed(Store):
    def give_turn(self, row, request):
        return replace(super().give_turn(row, request), served=True)


@breaks("LEASE-11")
class FiltersTheFirstThousand(Store):
    def lease_turns(self, request):
        everything = self.tables.instances
        first = sorted(filter(self.is_ready, everything.values()), key=self.waiting_since)[:1000]
        self.tables.instances = {row.state.instance: row for row in first}
        try:
            return super().lease_turns(request)
        finally:
            self.tables.instances = everything


@breaks("LEASE-11")
class GivesUnregisteredFirst(Store):
    def lease_turns(self, request):
        if request.unregistered_for is not None:
            rows = [
                r
                for r in self.tables.instances.values()
                if self.is_ready(r) and self.is_left(r, request)
            ]
            if len(rows) >= request.limit:
                return tuple(self.give_turn(row, request) for row in rows[: request.limit])
        return super().lease_turns(request)


@breaks("LEASE-12", "LEASE-16")
class KnowsNoTokens(Store):
    def holder(self, lease):
        row = self.tables.instances.get(lease.instance)
        return row if row is not None and self.is_live(row.lease) else None


@breaks("LEASE-12", "LEASE-17")
class RenewsLiveLeasesOnly(Store):
    def renew_turns(self, leases, lease_for):
        live = [x for x in leases if (row := self.holder(x)) and self.is_live(row.lease)]
        return super().renew_turns(live, lease_for) | frozenset(leases) - frozenset(live)


@breaks("LEASE-12")
class SaysThatWhatItRenewsHasExpired(Store):
    def renew_turns(self, leases, lease_for):
        expired = {x for x in leases if (r := self.holder(x)) and not self.is_live(r.lease)}
        return super().renew_turns(leases, lease_for) | expired


@breaks("LEASE-12")
class RenewsNothing(Store):
    def renew_turns(self, leases, lease_for):
        return frozenset(lease for lease in leases if self.holder(lease) is None)


@breaks("LEASE-12", "LEASE-17")
class SaysThatNothingIsGone(Store):
    def renew_turns(self, leases, lease_for):
        super().renew_turns(leases, lease_for)
        return frozenset()


@breaks("LEASE-12")
class StopsRenewingAtTheFirstGone(Store):
    def renew_turns(self, leases, lease_for):
        gone = super().renew_turns(leases[:1], lease_for)
        return frozenset(leases) if gone else super().renew_turns(leases, lease_for)


@breaks("ACT-23", "ACT-13")
class GivesBackActivitiesThatWereTakenOver(Store):
    def account_for_activity(self, release):
        row = self.tables.activities.get((release.lease.instance, release.lease.activity))
        if row is not None and row.taken_from == release.lease.token and row.lease is not None:
            self.release_activity(
                replace(release, lease=replace(release.lease, token=row.lease.token))
            )


@breaks("LEASE-17", "ACT-18")
class BelievesInLongLeases(Store):
    def lasts(self, until):
        return until is not None and self.now < until


@breaks("LEASE-17", "ACT-18")
class AllowsNoSkew(Store):
    def lasts(self, until):
        return until is not None and self.now < until <= self.now + 300_000_000 - 1


@breaks("LEASE-18", "MODEL-1")
class LeasesUnderARace(ModelProvider):
    async def lease_turns(self, request):
        store = self.at_present()
        rows = [row for row in store.tables.instances.values() if store.is_ready(row)][
            : request.limit
        ]
        await asyncio.sleep(0)
        for row in rows:
            row.lease = None
        return [store.give_turn(row, request) for row in rows]


@breaks("LEASE-19")
class KeepsTheLeasesOfACancelledCall(ModelProvider):
    async def lease_turns(self, request):
        turns = await super().lease_turns(request)
        await asyncio.sleep(0)
        return turns


@breaks("LEASE-19")
class CountsTheLeasesOfACancelledCall(ModelProvider):
    async def lease_turns(self, request):
        turns = await super().lease_turns(request)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            for turn in turns:
                self._store.tables.instances[turn.state.instance].lease = None
            raise
        return turns


@breaks("LEASE-20", "LEASE-3", "RACE-1")
class RemovesWhatItDelivers(Store):
    def give_turn(self, row, request):
        turn = super().give_turn(row, request)
        self.remove_messages(row.state.instance, [message.id for message in turn.messages])
        return turn


@breaks("LEASE-20")
class PutsWhatWasDeliveredBehind(Store):
    def let_go(self, row):
        super().let_go(row)
        for entry in sorted(self.unsorted_visible(row.state.instance), key=self.order):
            if entry.arrival < row.released - 2:
                entry.arrival = self.count()


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
