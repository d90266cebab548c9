"""Providers that lease activities wrongly, or believe the wrong worker."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from perdure.contract import InstanceStatus
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store


class Gives(Store):
    def changed(self, leased, row):
        return leased

    def give_activity(self, row, request):
        return self.changed(super().give_activity(row, request), row)


@breaks("ACT-1", "CALL-1")
class ForgetsWhenItWasAdded(Gives):
    def changed(self, leased, row):
        return replace(leased, added_at=self.now + 1)


@breaks("ACT-1", "ACT-15")
class ForgetsTheExecutionOfAnActivity(Gives):
    def changed(self, leased, row):
        return replace(leased, execution=1)


@breaks("ACT-1")
class LeasesActivitiesForAMinute(Store):
    def lease_activities(self, request):
        return super().lease_activities(replace(request, lease_for=timedelta(minutes=1)))


@breaks("ACT-2", "ACT-19")
class LeasesActivitiesToAllCallers(Store):
    def is_available(self, row):
        return row.visible_at is None and self.is_wanted(row)


@breaks("ACT-2", "ACT-11", "ACT-18", "COMMIT-11")
class ForgetsTheDelivery(Store):
    def give_activity(self, row, request):
        if not self.is_held(row.lease, request.token):
            row.delivery = 0
        return super().give_activity(row, request)


@breaks("ACT-3")
class TakesNoneForEveryTag(Store):
    def matches(self, row, request):
        tagged = None in request.tags or row.new.tag in request.tags
        return row.new.name in request.names and tagged


@breaks("ACT-3")
class TakesUntaggedForEveryWorker(Store):
    def matches(self, row, request):
        return row.new.name in request.names and (
            row.new.tag is None or row.new.tag in request.tags
        )


@breaks("ACT-3", "COMMIT-10")
class TakesEveryName(Store):
    def matches(self, row, request):
        return row.new.tag in request.tags


@breaks("ACT-3")
class TakesMoreActivitiesThanAsked(Store):
    def lease_activities(self, request):
        return super().lease_activities(replace(request, limit=request.limit + 5))


@breaks("ACT-4", "COMMIT-10")
class LeasesTheFuture(Store):
    def is_available(self, row):
        return (
            not self.is_live(row.lease) and self.is_wanted(row) and not self.lasts(row.hidden_until)
        )


@breaks("ACT-4")
class LeasesAnInstantLate(Store):
    def is_available(self, row):
        return super().is_available(row) and (row.visible_at is None or row.visible_at < self.now)


@breaks("ACT-5")
class PrefersYoungActivities(Store):
    def place_in_queue(self, row):
        return tuple(-part for part in super().place_in_queue(row))


@breaks("ACT-5")
class PrefersActivitiesByInstance(Store):
    def place_in_queue(self, row):
        return (row.instance, row.new.id)


@breaks("ACT-6")
class ForgetsItsWorkersTokens(Store):
    def lease_activities(self, request):
        return super().lease_activities(replace(request, token=f"{request.token} {self.count()}"))


@breaks("ACT-6")
class CountsRepeatedDeliveries(Store):
    def give_activity(self, row, request):
        row.delivery += self.is_held(row.lease, request.token)
        return super().give_activity(row, request)


@breaks("ACT-6")
class ExtendsRepeatedActivityLeases(Store):
    def give_activity(self, row, request):
        super().give_activity(row, request)
        row.lease.until = self.after(request.lease_for)
        return super().give_activity(row, request)


@breaks("ACT-7", "ACT-8")
class CompletesWithoutRemoving(Store):
    def complete_activity(self, completion):
        kept = self.tables.activities.copy()
        super().complete_activity(completion)
        self.tables.activities = kept


@breaks("ACT-7", "ACT-8")
class CompletesWithoutTelling(Store):
    def complete_activity(self, completion):
        void = replace(completion.message, incarnation="void")
        super().complete_activity(replace(completion, message=void))


@breaks("ACT-7")
class LosesResultsWhileTheTurnIsLeased(Store):
    def complete_activity(self, completion):
        row = self.tables.instances.get(completion.message.instance)
        super().complete_activity(completion)
        if row is not None and self.is_live(row.lease):
            self.remove_messages(row.state.instance, [completion.message.id])


@breaks("ACT-7")
class ForgetsResults(Store):
    def complete_activity(self, completion):
        super().complete_activity(
            replace(completion, message=replace(completion.message, data=b""))
        )


class FindsLeases(Store):
    def found(self, row, lease):
        raise NotImplementedError

    def leased_row(self, lease):
        row = self.tables.activities.get((lease.instance, lease.activity))
        return row if row is not None and self.found(row, lease) else None


@breaks("ACT-8", "ACT-13", "ACT-14", "COMMIT-5")
class BelievesAnyWorker(FindsLeases):
    def found(self, row, lease):
        return self.is_live(row.lease) and self.is_wanted(row)


@breaks("ACT-8", "ACT-13", "ACT-14", "ACT-18", "COMMIT-5")
class BelievesLiveLeasesOnly(FindsLeases):
    def found(self, row, lease):
        return self.is_held(row.lease, lease.token) and self.is_wanted(row)


@breaks("ACT-8", "ACT-13", "ACT-14", "ACT-18", "COMMIT-5")
class AcceptsAnEarlierHolder(Store):
    def __init__(self):
        super().__init__()
        self.tokens = set()

    def give_activity(self, row, request):
        self.tokens.add((row.new.id, request.token))
        return super().give_activity(row, request)

    def leased_row(self, lease):
        row = self.tables.activities.get((lease.instance, lease.activity))
        known = (lease.activity, lease.token) in self.tokens
        return row if row is not None and known and self.is_wanted(row) else None


@breaks("ACT-8", "ACT-13")
class AcceptsTheFirstCaller(FindsLeases):
    def found(self, row, lease):
        return self.is_wanted(row)


@breaks("ACT-8", "ACT-19")
class AcceptsASecondCompletion(Store):
    def complete_activity(self, completion):
        if (completion.lease.instance, completion.lease.activity) in self.tables.activities:
            super().complete_activity(completion)


@breaks("ACT-8")
class TellsEvenWhenItRefuses(Store):
    def complete_activity(self, completion):
        self.put(completion.message)
        super().complete_activity(completion)


@breaks("ACT-9", "ACT-15")
class WantsWorkOfOldExecutions(Store):
    def is_wanted(self, row):
        owner = self.tables.instances.get(row.instance)
        return owner is not None and owner.state.status is InstanceStatus.RUNNING


@breaks("ACT-9", "ACT-15", "COMMIT-18")
class WantsWorkOfEndedInstances(Store):
    def is_wanted(self, row):
        owner = self.tables.instances.get(row.instance)
        return owner is not None and owner.state.execution == row.execution


@breaks("ACT-10", "COMMIT-12")
class CancelsNothing(Store):
    def carry_out(self, row, commit):
        return super().carry_out(row, replace(commit, cancel=()))


@breaks("ACT-10", "ACT-14")
class RenewsCancelledActivities(Store):
    def renew_activities(self, leases, lease_for):
        gone = super().renew_activities(leases, lease_for)
        return frozenset(x for x in gone if (x.instance, x.activity) in self.tables.activities)


class ReleasesActivities(Store):
    def changed(self, release):
        return release

    def release_activity(self, release):
        super().release_activity(self.changed(release))


@breaks("ACT-11")
class ReleasesAtOnce(ReleasesActivities):
    def changed(self, release):
        return replace(release, delay=timedelta(0))


@breaks("ACT-11", "ACT-12")
class DelaysEveryRelease(ReleasesActivities):
    def changed(self, release):
        return replace(release, delay=release.delay or timedelta(seconds=3))


@breaks("ACT-11")
class CountsEveryDelivery(ReleasesActivities):
    def changed(self, release):
        return replace(release, counted=True)


@breaks("ACT-11")
class CountsNoReleasedDelivery(ReleasesActivities):
    def changed(self, release):
        return replace(release, counted=False)


@breaks("ACT-11")
class LosesReleasedActivities(Store):
    def release_activity(self, release):
        super().release_activity(release)
        self.remove_activities(release.lease.instance, [release.lease.activity])


@breaks("ACT-12")
class IgnoresMarksOfActivities(ReleasesActivities):
    def changed(self, release):
        return replace(release, parked=None)


@breaks("ACT-13")
class CountsLateReleasesOfActivities(ReleasesActivities):
    def changed(self, release):
        row = self.leased_row(release.lease)
        expired = row is not None and not self.is_live(row.lease)
        return replace(release, counted=release.counted or expired)


@breaks("ACT-13")
class ReleasesForAnotherHolder(ReleasesActivities):
    def changed(self, release):
        row = self.tables.activities.get((release.lease.instance, release.lease.activity))
        if row is None or row.lease is None:
            return release
        return replace(release, lease=replace(release.lease, token=row.lease.token))


@breaks("ACT-14")
class RenewsNoActivity(Store):
    def renew_activities(self, leases, lease_for):
        return frozenset(lease for lease in leases if self.leased_row(lease) is None)


@breaks("ACT-14", "ACT-10", "ACT-21")
class SaysThatNoActivityIsGone(Store):
    def renew_activities(self, leases, lease_for):
        super().renew_activities(leases, lease_for)
        return frozenset()


@breaks("ACT-16")
class FindsNoUnregisteredActivities(Store):
    def is_unregistered(self, row, request):
        return False


@breaks("ACT-16")
class FindsUnregisteredActivitiesAtOnce(Store):
    def is_unregistered(self, row, request):
        return super().is_unregistered(
            row, replace(request, unregistered_for=request.unregistered_for and timedelta(0))
        )


@breaks("ACT-16")
class FindsUnregisteredActivitiesOfItsTagsOnly(Store):
    def is_unregistered(self, row, request):
        return super().is_unregistered(row, request) and row.new.tag in request.tags


@breaks("ACT-16")
class FindsUnregisteredActivitiesOfItsNamesOnly(Store):
    def is_unregistered(self, row, request):
        return super().is_unregistered(row, request) and row.new.name in request.names


@breaks("ACT-24")
class TakesWhatIsBusyForUnregistered(Store):
    def is_served_elsewhere(self, row):
        return False


@breaks("ACT-24")
class LooksAtTheNameAloneOfWhatIsBusy(Store):
    def is_served_elsewhere(self, row):
        return any(
            self.is_live(other.lease) and other.new.name == row.new.name
            for other in self.tables.activities.values()
        )


@breaks("ACT-24")
class LooksAtTheTagAloneOfWhatIsBusy(Store):
    def is_served_elsewhere(self, row):
        return any(
            self.is_live(other.lease) and other.new.tag == row.new.tag
            for other in self.tables.activities.values()
        )


@breaks("ACT-24")
class TakesWhatWasLeasedLongAgoForBusy(Store):
    def is_served_elsewhere(self, row):
        return any(
            other.lease is not None and self.is_wanted(other)
            for other in self.tables.activities.values()
            if (other.new.name, other.new.tag) == (row.new.name, row.new.tag)
        )


@breaks("ACT-16", "ACT-22")
class TellsByTheNameAloneWhatIsServed(Gives):
    def give_activity(self, row, request):
        return replace(super().give_activity(row, request), served=row.new.name in request.names)


@breaks("ACT-22")
class HidesAWhileWhatWasUnregistered(Store):
    def release_activity(self, release):
        row = self.leased_row(release.lease)
        if row is not None and row.new.tag is not None and not release.delay:
            release = replace(release, delay=timedelta(seconds=1))
        super().release_activity(release)


@breaks("ACT-16")
class ForgetsReleasesOfUnregisteredActivities(Store):
    def is_unregistered(self, row, request):
        due, row.due = row.due, row.added_at
        found = super().is_unregistered(row, request)
        row.due = due
        return found


@breaks("ACT-17")
class FiltersAThousandActivities(Store):
    def lease_activities(self, request):
        everything = self.tables.activities
        free = sorted(filter(self.is_available, everything.values()), key=self.place_in_queue)
        self.tables.activities = {(r.instance, r.new.id): r for r in free[:1000]}
        try:
            return super().lease_activities(request)
        finally:
            self.tables.activities = everything


@breaks("ACT-17")
class GivesUnregisteredActivitiesFirst(Store):
    def lease_activities(self, request):
        free = [r for r in self.tables.activities.values() if self.is_available(r)]
        unregistered = [r for r in free if self.is_unregistered(r, request)]
        if len(unregistered) >= request.limit:
            return tuple(self.give_activity(row, request) for row in unregistered[: request.limit])
        return super().lease_activities(request)


@breaks("ACT-19")
class LeasesActivitiesUnderARace(ModelProvider):
    async def lease_activities(self, request):
        store = self.at_present()
        rows = [r for r in store.tables.activities.values() if store.is_available(r)][
            : request.limit
        ]
        await asyncio.sleep(0)
        for row in rows:
            row.lease = None
        return [store.give_activity(row, request) for row in rows]


@breaks("ACT-19")
class CompletesUnderARace(ModelProvider):
    async def complete_activity(self, completion):
        store = self.at_present()
        row = store.leased_row(completion.lease)
        await asyncio.sleep(0)
        if row is None:
            await super().complete_activity(completion)
        store.tables.activities.pop((completion.lease.instance, completion.lease.activity), None)
        store.put(completion.message)


@breaks("ACT-20")
class KeepsTheActivitiesOfACancelledCall(ModelProvider):
    async def lease_activities(self, request):
        leased = await super().lease_activities(request)
        await asyncio.sleep(0)
        return leased


@breaks("ACT-20")
class CountsTheActivitiesOfACancelledCall(ModelProvider):
    async def lease_activities(self, request):
        leased = await super().lease_activities(request)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            for each in leased:
                self._store.tables.activities[each.instance, each.id].lease = None
            raise
        return leased


@breaks("ACT-21")
class HasOneQueueOfIds(Store):
    def add_activities(self, commit):
        for key in [
            key for key in self.tables.activities if key[1] in {new.id for new in commit.add}
        ]:
            del self.tables.activities[key]
        super().add_activities(commit)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
