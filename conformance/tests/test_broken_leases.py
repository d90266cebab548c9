"""Providers that lease turns wrongly, twice or never, and that misread histories."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from perdure.contract import HistoryPage, InstanceStatus
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


class Releases(Store):
    def changed(self, release):
        return release

    def release_turn(self, release):
        super().release_turn(self.changed(release))


@breaks("LEASE-13")
class HidesWhatWasReleased(Releases):
    def changed(self, release):
        return replace(release, delay=release.delay or timedelta(seconds=1))


@breaks("LEASE-13")
class CountsEveryRelease(Releases):
    def changed(self, release):
        return replace(release, counted=True)


@breaks("LEASE-13", "LEASE-8")
class CountsNoRelease(Releases):
    def changed(self, release):
        return replace(release, counted=False)


@breaks("LEASE-14", "LEASE-17")
class IgnoresDelays(Releases):
    def changed(self, release):
        return replace(release, delay=timedelta(0))


@breaks("LEASE-14")
class HidesOnlyTheOldMessages(Store):
    def put(self, message):
        super().put(message)
        row = self.tables.instances.get(message.instance)
        if row is not None:
            row.hidden_until = None


@breaks("LEASE-15")
class ForgetsTheFirstMark(Store):
    def park(self, row, mark):
        row.state = replace(row.state, parked=None)
        super().park(row, mark)


@breaks("LEASE-15", "ACT-12")
class KeepsTheFirstMarkOfAnyReason(Store):
    def park(self, row, mark):
        before = row.state.parked
        super().park(row, mark)
        if before is not None:
            row.state = replace(row.state, parked=replace(row.state.parked, since=before.since))


@breaks("LEASE-15")
class KeepsTheFirstReason(Store):
    def park(self, row, mark):
        if row.state.parked is None:
            super().park(row, mark)


@breaks("LEASE-15")
class ClearsTheMarkWithARelease(Releases):
    def release_turn(self, release):
        row = self.holder(release.lease)
        if row is not None and release.parked is None:
            row.state = replace(row.state, parked=None)
        super().release_turn(release)


@breaks("LEASE-15")
class HasNoMarks(Store):
    def park(self, row, mark):
        pass


class ReleasesLiveLeases(Store):
    def release_turn(self, release):
        row = self.holder(release.lease)
        if row is None or self.is_live(row.lease):
            super().release_turn(release)
        else:
            self.release_late(row, release)

    def release_late(self, row, release):
        pass


@breaks("LEASE-16")
class IgnoresLateReleases(ReleasesLiveLeases):
    pass


@breaks("LEASE-16")
class CountsLateReleases(ReleasesLiveLeases):
    def release_late(self, row, release):
        super(ReleasesLiveLeases, self).release_turn(replace(release, counted=True))


@breaks("LEASE-16")
class ForgetsTheDelayOfLateReleases(ReleasesLiveLeases):
    def release_late(self, row, release):
        super(ReleasesLiveLeases, self).release_turn(replace(release, delay=timedelta(0)))


@breaks("LEASE-16")
class ForgetsTheMarkOfLateReleases(ReleasesLiveLeases):
    def release_late(self, row, release):
        super(ReleasesLiveLeases, self).release_turn(replace(release, parked=None))


@breaks("LEASE-16")
class ReleasesByInstance(Store):
    def release_turn(self, release):
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and row.lease is not None:
            super().release_turn(
                replace(release, lease=replace(release.lease, token=row.lease.token))
            )


@breaks("LEASE-16")
class ParksForAnyCaller(Store):
    def release_turn(self, release):
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and release.parked is not None:
            self.park(row, release.parked)
        super().release_turn(release)


@breaks("LEASE-21", "ACT-23")
class AccountsForNothing(Store):
    def is_accounted(self, row, token, counted):
        return False


@breaks("LEASE-21", "ACT-23")
class AccountsAgainAndAgain(Store):
    def is_accounted(self, row, token, counted):
        return not counted and row.taken_from == token


@breaks("LEASE-21", "ACT-23")
class AccountsForCountedReleases(Store):
    def is_accounted(self, row, token, counted):
        return super().is_accounted(row, token, counted=False)


@breaks("LEASE-21", "ACT-23")
class AccountsForAnyCaller(Store):
    def is_accounted(self, row, token, counted):
        return super().is_accounted(row, row.taken_from or token, counted)


@breaks("LEASE-21", "ACT-23")
class RemembersTheFirstTakeover(Store):
    def note_takeover(self, row):
        if row.taken_from is None:
            super().note_takeover(row)


@breaks("LEASE-21")
class AccountsAfterACommit(Store):
    def settle_lease(self, row, commit):
        taken_from = row.taken_from
        super().settle_lease(row, commit)
        row.taken_from = taken_from


@breaks("LEASE-21", "LEASE-16")
class GivesBackWhatWasTakenOver(Store):
    def account_for_turn(self, release):
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and row.taken_from == release.lease.token and row.lease is not None:
            self.release_turn(replace(release, lease=replace(release.lease, token=row.lease.token)))


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


@breaks("HIST-1", "ADMIN-6")
class CountsPagesFromTheNumber(Store):
    def page(self, row, after):
        return super().page(row, max(0, after - 1))


@breaks("HIST-1", "HIST-5", "ADMIN-6")
class ReadsOnePageOnly(Store):
    def page(self, row, after):
        return replace(super().page(row, after), more=False)


@breaks("HIST-1")
class AlwaysSaysThatMoreFollow(Store):
    def page(self, row, after):
        page = super().page(row, after)
        return HistoryPage(events=page.events, more=bool(page.events))


@breaks("HIST-2")
class ReadsFromAStaleReplica(ModelProvider):
    async def lease_turns(self, request):
        turns = await super().lease_turns(request)
        self.replica = {
            name: [list(e.events) for e in rows]
            for name, rows in self._store.tables.executions.items()
        }
        return turns

    async def read_history(self, instance, execution, *, incarnation, after=0):
        page = await super().read_history(instance, execution, incarnation=incarnation, after=after)
        known = self.__dict__.setdefault("replica", {}).get(instance, [])
        if len(known) >= execution and len(known[execution - 1]) < after + len(page.events):
            return page
        return replace(page, events=page.events[:-1]) if len(page.events) > 3 else page


@breaks("HIST-3")
class ReadsAnyIncarnation(Store):
    def row_of(self, instance, incarnation):
        return self.tables.instances.get(instance)


@breaks("HIST-3")
class ReadsNothingOfNothing(Store):
    def read_history(self, instance, execution, incarnation, after):
        if self.execution_row(instance, execution) is None:
            return HistoryPage(events=(), more=False)
        return super().read_history(instance, execution, incarnation, after)


@breaks("HIST-4", "COMMIT-19")
class KeepsTheNewestHistoryOnly(Store):
    def begin_execution(self, instance, number):
        for row in self.tables.executions.get(instance, []):
            row.events.clear()
        super().begin_execution(instance, number)


@breaks("HIST-4")
class GivesEachExecutionTheFirstHistory(Store):
    def begin_execution(self, instance, number):
        super().begin_execution(instance, number)
        rows = self.tables.executions[instance]
        rows[-1].events = rows[0].events


@breaks("HIST-5")
class KeepsFiveThousandEvents(Store):
    def append_events(self, commit):
        super().append_events(commit)
        del self.tables.executions[commit.instance][-1].events[5000:]


@breaks("HIST-5")
class CutsLargeEvents(Store):
    def append_events(self, commit):
        super().append_events(replace(commit, events=tuple(e[:1_000_000] for e in commit.events)))


@breaks("READ-1")
class ShowsIdsThatHaveMail(Store):
    def read_instance(self, instance):
        row = self.tables.instances.get(instance)
        if row is None and self.tables.mailboxes.get(instance):
            return (
                next(iter(self.tables.instances.values()), object()).state
                if self.tables.instances
                else instance
            )
        return super().read_instance(instance)


@breaks("READ-1", "COMMIT-18")
class HidesTheOutput(Store):
    def read_instance(self, instance):
        state = super().read_instance(instance)
        return None if state is None else replace(state, output=None)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
