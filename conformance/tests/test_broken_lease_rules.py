"""Providers that get leases and delays right for the usual caller, and wrong for the unusual one."""

import asyncio
from dataclasses import replace

from perdure.contract import ActivityRelease, MessageKind, TurnRelease
from perdure.errors import LeaseLost
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model.tables import Lease


class Kinds(Store):
    """Treats messages of some kinds in its own way while the instance is delayed."""

    kinds = frozenset(MessageKind) - {MessageKind.START, MessageKind.EVENT, MessageKind.CANCEL}

    def put(self, message):
        row = self.tables.instances.get(message.instance)
        delayed = row is not None and row.lease is None and self.lasts(row.hidden_until)
        if delayed and message.kind in self.kinds:
            self.put_during_delay(row, message)
        else:
            super().put(message)

    def put_during_delay(self, row, message):
        raise NotImplementedError


@breaks("LEASE-14")
class EndsTheDelayForAResult(Kinds):
    def put_during_delay(self, row, message):
        super(Kinds, self).put(message)
        row.hidden_until = None


@breaks("LEASE-14")
class EndsTheDelayForATimer(Kinds):
    kinds = frozenset({MessageKind.TIMER})

    def put_during_delay(self, row, message):
        super(Kinds, self).put(message)
        row.hidden_until = None


@breaks("LEASE-14")
class LosesResultsDuringADelay(Kinds):
    def put_during_delay(self, row, message):
        pass


@breaks("LEASE-14")
class EndsTheDelayWhenATimerFallsDue(Store):
    def is_ready(self, row):
        hidden = row.hidden_until
        timers = [
            entry
            for entry in self.unsorted_visible(row.state.instance)
            if entry.message.visible_at is not None
        ]
        row.hidden_until = None if timers else hidden
        try:
            return super().is_ready(row)
        finally:
            row.hidden_until = hidden


@breaks("LEASE-14")
class EndsTheDelayForACompletion(Store):
    def complete_activity(self, completion):
        super().complete_activity(completion)
        self.end_delay(completion.message.instance)


@breaks("LEASE-22")
class KeepsTheDelayForACancellationOfACommit(Store):
    """Ends a delay for `send` alone."""

    def carry_out(self, row, commit):
        delays = {key: other.hidden_until for key, other in self.tables.instances.items()}
        answer = super().carry_out(row, commit)
        for key, hidden in delays.items():
            if key != commit.instance:
                self.tables.instances[key].hidden_until = hidden
        return answer


@breaks("LEASE-13")
class TakesASecondReleaseForAnotherLease(Store):
    """Remembers who held the instance last, and takes that for holding it."""

    def __init__(self):
        super().__init__()
        self.last = {}

    def release_turn(self, release):
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and row.lease is None:
            if self.last.get(release.lease.instance) == release.lease.token:
                row.attempt -= not release.counted
            return
        if row is not None:
            self.last[release.lease.instance] = row.lease.token
        super().release_turn(release)


@breaks("LEASE-13")
class HidesAgainAtASecondRelease(Store):
    def release_turn(self, release):
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and row.lease is None and release.delay:
            row.hidden_until = self.after(release.delay)
        super().release_turn(release)


@breaks("LEASE-13")
class RefusesASecondRelease(ModelProvider):
    async def release_turn(self, release):
        store = self.at_present()
        if store.holder(release.lease) is None and release.counted:
            raise LeaseLost(release.lease.instance, operation="release_turn")
        await super().release_turn(release)


@breaks("ACT-11")
class CountsBackASecondRelease(Store):
    def __init__(self):
        super().__init__()
        self.last = {}

    def release_activity(self, release):
        key = (release.lease.instance, release.lease.activity)
        row = self.tables.activities.get(key)
        if row is not None and row.lease is None:
            row.delivery -= self.last.get(key) == release.lease.token and not release.counted
            return
        self.last[key] = release.lease.token
        super().release_activity(release)


@breaks("ACT-11")
class DelaysAgainAtASecondRelease(Store):
    def release_activity(self, release):
        row = self.tables.activities.get((release.lease.instance, release.lease.activity))
        if row is not None and row.lease is None and release.delay:
            row.hidden_until = self.after(release.delay)
        super().release_activity(release)


@breaks("LEASE-7")
class GivesATurnTwice(Store):
    """Finds what the token holds, live or not, and then what is ready."""

    def lease_turns(self, request):
        turns = super().lease_turns(request)
        again = [
            self.give_turn(row, request)
            for row in self.tables.instances.values()
            if self.is_held(row.lease, request.token) and row.attempt > 1
        ]
        return (*turns, *again)


@breaks("ACT-6")
class GivesAnActivityTwice(Store):
    def lease_activities(self, request):
        leased = super().lease_activities(request)
        again = [
            self.give_activity(row, request)
            for row in self.tables.activities.values()
            if self.is_held(row.lease, request.token) and row.delivery > 1
        ]
        return (*leased, *again)


@breaks("LEASE-12")
class RenewsTheFirstHundred(Store):
    """Passes a hundred keys to its storage, and forgets the rest."""

    def renew_turns(self, leases, lease_for):
        return super().renew_turns(leases[:100], lease_for)


@breaks("LEASE-12")
class TakesTheFirstHundredForAll(Store):
    def renew_turns(self, leases, lease_for):
        gone = super().renew_turns(leases[:100], lease_for)
        return gone | frozenset(leases[100:])


@breaks("ACT-14")
class RenewsTheFirstHundredActivities(Store):
    def renew_activities(self, leases, lease_for):
        return super().renew_activities(leases[:100], lease_for)


@breaks("LEASE-12")
class GivesAReleasedLeaseBackAtARenewal(Store):
    """Its renewal is an upsert: where there is no lease, it makes one, and says that it was gone."""

    def renew_turns(self, leases, lease_for):
        gone = super().renew_turns(leases, lease_for)
        for lease in gone:
            row = self.tables.instances.get(lease.instance)
            if row is not None and row.lease is None and row.attempt:
                row.lease = Lease(lease.token, self.after(lease_for))
        return gone


@breaks("ACT-14")
class GivesAReleasedActivityBackAtARenewal(Store):
    def renew_activities(self, leases, lease_for):
        gone = super().renew_activities(leases, lease_for)
        for lease in gone:
            row = self.tables.activities.get((lease.instance, lease.activity))
            if row is not None and row.lease is None and row.delivery:
                row.lease = Lease(lease.token, self.after(lease_for))
        return gone


@breaks("LEASE-12")
class RevivesWhatItsTakerGaveBack(Store):
    """Believes the lease that was taken over once its taker has given the instance back."""

    def renew_turns(self, leases, lease_for):
        for lease in leases:
            row = self.tables.instances.get(lease.instance)
            if row is not None and row.lease is None and row.taken_from == lease.token:
                row.lease = Lease(lease.token, self.now)
        return super().renew_turns(leases, lease_for)


@breaks("ACT-14")
class RevivesTheActivityThatItsTakerGaveBack(Store):
    def renew_activities(self, leases, lease_for):
        for lease in leases:
            row = self.tables.activities.get((lease.instance, lease.activity))
            if row is not None and row.lease is None and row.taken_from == lease.token:
                row.lease = Lease(lease.token, self.now)
        return super().renew_activities(leases, lease_for)


@breaks("COMMIT-8")
class TellsTheEndThatARepeatedCommitGave(Store):
    """Answers a repeat with the end of the lease as it was before its renewal."""

    def carry_out(self, row, commit):
        answer = super().carry_out(row, commit)
        self.first_until = answer.lease_until
        return answer

    def repeated_answer(self, row, commit):
        answer = super().repeated_answer(row, commit)
        if answer.lease_until is None:
            return answer
        return replace(answer, lease_until=self.first_until)


@breaks("LEASE-9")
class ChoosesAmongTheFirstHundred(Store):
    """Reads a page of what is ready, in the order of names, and leases the oldest of the page."""

    def lease_turns(self, request):
        everything = self.tables.instances
        page = sorted(name for name, row in everything.items() if self.is_ready(row))[:100]
        self.tables.instances = {name: everything[name] for name in page}
        try:
            return super().lease_turns(request)
        finally:
            self.tables.instances = everything


@breaks("LEASE-9")
class ChoosesAmongTheNewestHundred(Store):
    def lease_turns(self, request):
        everything = self.tables.instances
        ready = [row for row in everything.values() if self.is_ready(row)]
        page = sorted(ready, key=self.waiting_since)[-100:]
        self.tables.instances = {row.state.instance: row for row in page}
        try:
            return super().lease_turns(request)
        finally:
            self.tables.instances = everything


@breaks("ACT-5")
class ChoosesAmongAHundredActivities(Store):
    def lease_activities(self, request):
        everything = self.tables.activities
        page = sorted(key for key, row in everything.items() if self.is_available(row))[:100]
        self.tables.activities = {key: everything[key] for key in page}
        try:
            return super().lease_activities(request)
        finally:
            self.tables.activities = everything


@breaks("ACT-5")
class ChoosesAmongTheNewestHundredActivities(Store):
    def lease_activities(self, request):
        everything = self.tables.activities
        free = sorted(filter(self.is_available, everything.values()), key=self.place_in_queue)
        self.tables.activities = {(row.instance, row.new.id): row for row in free[-100:]}
        try:
            return super().lease_activities(request)
        finally:
            self.tables.activities = everything


@breaks("ACT-15")
class DropsVisibleActivitiesAtAnEnd(Store):
    """Voids at an end what could be leased then, and looks at nothing later."""

    def drop_void_activities(self, instance):
        for key, row in list(self.tables.activities.items()):
            hidden = self.lasts(row.hidden_until) or (row.visible_at or 0) > self.now
            if key[0] == instance and not hidden and not super().is_wanted(row):
                del self.tables.activities[key]

    def is_wanted(self, row):
        return row.instance in self.tables.instances


@breaks("ACT-15")
class DropsActivitiesWithoutADelayAtAnEnd(Store):
    def drop_void_activities(self, instance):
        for key, row in list(self.tables.activities.items()):
            hidden = self.lasts(row.hidden_until)
            if key[0] == instance and not hidden and not super().is_wanted(row):
                del self.tables.activities[key]

    def is_wanted(self, row):
        return row.instance in self.tables.instances


@breaks("ACT-10")
class CancelsVisibleActivities(Store):
    def carry_out(self, row, commit):
        free = [
            name
            for name in commit.cancel
            if (found := self.tables.activities.get((commit.instance, name))) is None
            or ((found.visible_at or 0) <= self.now and not self.lasts(found.hidden_until))
        ]
        return super().carry_out(row, replace(commit, cancel=tuple(free)))


@breaks("ACT-7")
class RefusesAResultThatTheMailboxHolds(Store):
    def complete_activity(self, completion):
        message = completion.message
        if message.id in self.tables.mailboxes.get(message.instance, {}):
            completion = replace(completion, lease=replace(completion.lease, token="none"))
        super().complete_activity(completion)


@breaks("ACT-7")
class KeepsAnActivityWhoseResultIsHeld(Store):
    def complete_activity(self, completion):
        message = completion.message
        key = (completion.lease.instance, completion.lease.activity)
        row = self.tables.activities.get(key)
        held = message.id in self.tables.mailboxes.get(message.instance, {})
        super().complete_activity(completion)
        if held:
            self.tables.activities[key] = row


class Halves(ModelProvider):
    """Takes two steps where it should take one, and may be cancelled between them."""

    async def pause(self):
        for _ in range(3):
            await asyncio.sleep(0)


@breaks("LEASE-23")
class ReleasesAndThenHides(Halves):
    async def release_turn(self, release):
        await super().release_turn(TurnRelease(lease=release.lease, counted=release.counted))
        await self.pause()
        row = self.at_present().tables.instances[release.lease.instance]
        row.hidden_until = self._store.after(release.delay)
        if release.parked is not None:
            self._store.park(row, release.parked)


@breaks("LEASE-23")
class ParksAndThenReleases(Halves):
    async def release_turn(self, release):
        row = self.at_present().holder(release.lease)
        if row is not None and release.parked is not None:
            self._store.park(row, release.parked)
        await self.pause()
        await super().release_turn(replace(release, parked=None))


@breaks("LEASE-23")
class CountsBackAndThenReleases(Halves):
    async def release_turn(self, release):
        row = self.at_present().holder(release.lease)
        if row is not None and not release.counted:
            row.attempt -= 1
        await self.pause()
        await super().release_turn(replace(release, counted=True))


@breaks("ACT-25")
class RemovesAndThenTells(Halves):
    async def complete_activity(self, completion):
        store = self.at_present()
        message = replace(completion.message, incarnation="nothing")
        store.complete_activity(replace(completion, message=message))
        await self.pause()
        store.put(completion.message)


@breaks("ACT-25")
class TellsAndThenRemoves(Halves):
    async def complete_activity(self, completion):
        store = self.at_present()
        if store.leased_row(completion.lease) is not None:
            store.put(completion.message)
        await self.pause()
        store.complete_activity(completion)


@breaks("ACT-25")
class ReleasesActivitiesAndThenHides(Halves):
    async def release_activity(self, release):
        await super().release_activity(
            ActivityRelease(lease=release.lease, counted=release.counted)
        )
        await self.pause()
        key = (release.lease.instance, release.lease.activity)
        self.at_present().tables.activities[key].hidden_until = self._store.after(release.delay)
        if release.parked is not None:
            self._store.park(self._store.tables.instances[release.lease.instance], release.parked)


@breaks("ACT-25")
class ParksAndThenReleasesTheActivity(Halves):
    async def release_activity(self, release):
        store = self.at_present()
        if store.leased_row(release.lease) is not None and release.parked is not None:
            store.park(store.tables.instances[release.lease.instance], release.parked)
        await self.pause()
        await super().release_activity(replace(release, parked=None))


class HalvesFarApart(ModelProvider):
    """Waits for a server between two steps, so that no few steps of the event loop reach the second."""

    async def pause(self):
        for _ in range(300):
            await asyncio.sleep(0)


@breaks("LEASE-23")
class ReleasesAndHidesByTwoRequests(HalvesFarApart):
    async def release_turn(self, release):
        await self.pause()
        await super().release_turn(TurnRelease(lease=release.lease, counted=release.counted))
        await self.pause()
        row = self.at_present().tables.instances[release.lease.instance]
        row.hidden_until = self._store.after(release.delay)
        if release.parked is not None:
            self._store.park(row, release.parked)


@breaks("ACT-25")
class RemovesAndTellsByTwoRequests(HalvesFarApart):
    async def complete_activity(self, completion):
        await self.pause()
        store = self.at_present()
        message = replace(completion.message, incarnation="nothing")
        store.complete_activity(replace(completion, message=message))
        await self.pause()
        store.put(completion.message)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
