"""Providers that tell of work, of changes and of lost leases, but not of all, or all the time."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.clock import to_microseconds
from perdure.contract import InstanceStatus
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider

INTERVAL = timedelta(milliseconds=100)


class Polls(ModelProvider):
    """Looks ten times a second, by the clock; right, unless a subclass leaves something out."""

    async def until(self, timeout, is_over):
        end = self.clock.now() + to_microseconds(timeout)
        while not is_over() and (left := end - self.clock.now()) > 0:
            await self.clock.sleep(min(INTERVAL, timedelta(microseconds=left)))


class TellsOfWork(Polls):
    tells_of_work = True

    def is_turn(self, store, row, wait, began):
        state = row.state
        served = wait.serves.accepts(state.name, state.version)
        return store.is_ready(row) and served and state.engine <= wait.serves.engine

    def is_activity(self, store, row, wait, began):
        matches = row.new.name in wait.activity_names and row.new.tag in wait.activity_tags
        return store.is_available(row) and matches

    def has_work(self, wait, began):
        store = self.at_present()
        turns = wait.serves is not None and any(
            self.is_turn(store, row, wait, began) for row in store.tables.instances.values()
        )
        return turns or any(
            self.is_activity(store, row, wait, began) for row in store.tables.activities.values()
        )

    async def wait_for_work(self, wait):
        began = self.clock.now()
        await self.until(wait.timeout, lambda: self.has_work(wait, began))


@breaks("WAIT-3")
class MissesTheEndOfLeases(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        return row.lease is None and super().is_turn(store, row, wait, began)


@breaks("WAIT-3")
class MissesTheEndOfDelays(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        hidden = (row.hidden_until or 0) > began
        return not hidden and super().is_turn(store, row, wait, began)


@breaks("WAIT-3")
class MissesMessagesThatFallDue(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        entries = store.unsorted_visible(row.state.instance)
        at_once = any((entry.message.visible_at or 0) <= began for entry in entries)
        return at_once and super().is_turn(store, row, wait, began)


@breaks("WAIT-3")
class MissesReleasedTurns(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        released = row.released_at >= began and row.attempt
        return not released and super().is_turn(store, row, wait, began)


@breaks("WAIT-3")
class MissesWhatACommitLeaves(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        committed = row.state.updated_at >= began and row.state.last_commit is not None
        return not committed and super().is_turn(store, row, wait, began)


@breaks("WAIT-3")
class MissesTheEndOfActivityLeases(TellsOfWork):
    def is_activity(self, store, row, wait, began):
        return row.lease is None and super().is_activity(store, row, wait, began)


@breaks("WAIT-3")
class MissesTheEndOfActivityDelays(TellsOfWork):
    def is_activity(self, store, row, wait, began):
        hidden = (row.hidden_until or 0) > began
        return not hidden and super().is_activity(store, row, wait, began)


@breaks("WAIT-3")
class MissesActivitiesThatFallDue(TellsOfWork):
    def is_activity(self, store, row, wait, began):
        later = (row.visible_at or 0) > began
        return not later and super().is_activity(store, row, wait, began)


@breaks("WAIT-3")
class MissesReleasedActivities(TellsOfWork):
    def is_activity(self, store, row, wait, began):
        return not row.delivery and super().is_activity(store, row, wait, began)


@breaks("WAIT-3")
class MissesTaggedActivities(TellsOfWork):
    def is_activity(self, store, row, wait, began):
        return row.new.tag is None and super().is_activity(store, row, wait, began)


@breaks("WAIT-3")
class TellsOfEveryTag(TellsOfWork):
    def is_activity(self, store, row, wait, began):
        return store.is_available(row) and row.new.name in wait.activity_names


@breaks("WAIT-3")
class TellsOfEveryActivity(TellsOfWork):
    def is_activity(self, store, row, wait, began):
        return bool(wait.activity_names) and store.is_available(row)


@breaks("WAIT-3")
class TellsOfEveryTurn(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        return store.is_ready(row)


@breaks("WAIT-3")
class TellsOfEveryVersion(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        return store.is_ready(row) and row.state.name in wait.serves.orchestrations


@breaks("WAIT-3")
class TellsOfNewerEngines(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        return store.is_ready(row) and wait.serves.accepts(row.state.name, row.state.version)


@breaks("WAIT-3")
class TellsOfLeasedTurns(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        held, row.lease = row.lease, None
        try:
            return super().is_turn(store, row, wait, began)
        finally:
            row.lease = held


@breaks("WAIT-3")
class TellsOfDelayedTurns(TellsOfWork):
    def is_turn(self, store, row, wait, began):
        hidden, row.hidden_until = row.hidden_until, None
        try:
            return super().is_turn(store, row, wait, began)
        finally:
            row.hidden_until = hidden


@breaks("WAIT-3")
class TellsOfLeasedActivities(TellsOfWork):
    def is_activity(self, store, row, wait, began):
        held, row.lease = row.lease, None
        try:
            return super().is_activity(store, row, wait, began)
        finally:
            row.lease = held


@breaks("WAIT-3")
class TellsOfTurnsToCallersForActivities(TellsOfWork):
    def has_work(self, wait, began):
        store = self.at_present()
        ready = any(map(store.is_ready, store.tables.instances.values()))
        return ready or super().has_work(wait, began)


class Remembers(TellsOfWork):
    """Wakes its waits by what its own calls did, and by the clock."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.missed = set()

    def is_turn(self, store, row, wait, began):
        missed = row.state.instance in self.missed
        return not missed and super().is_turn(store, row, wait, began)

    async def lease_turns(self, request):
        self.missed.clear()
        return await super().lease_turns(request)


@breaks("WAIT-3")
class MissesMessagesOfCommits(Remembers):
    async def commit_turn(self, commit):
        answer = await super().commit_turn(commit)
        self.missed |= {each.instance for each in commit.send} - {commit.instance}
        return answer


@breaks("WAIT-3")
class MissesChildrenOfCommits(Remembers):
    async def commit_turn(self, commit):
        answer = await super().commit_turn(commit)
        self.missed |= {each.instance.instance for each in commit.create}
        return answer


@breaks("WAIT-3")
class MissesResults(Remembers):
    async def complete_activity(self, completion):
        await super().complete_activity(completion)
        self.missed.add(completion.message.instance)


@breaks("WAIT-3")
class MissesCancellationsThatEndADelay(Remembers):
    async def send(self, messages):
        await super().send(messages)
        self.missed |= {each.instance for each in messages if each.id == "cancel"}


@breaks("WAIT-3")
class WakesOneOfItsWaiters(TellsOfWork):
    waiting = 0

    async def wait_for_work(self, wait):
        is_first, began = not self.waiting, self.clock.now()
        self.waiting += 1
        try:
            await self.until(wait.timeout, lambda: is_first and self.has_work(wait, began))
        finally:
            self.waiting -= 1


@breaks("WAIT-3")
class MissesWorkOfOtherObjects(TellsOfWork):
    """Looks only at the instances that its own calls have named."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.named = set()

    def is_turn(self, store, row, wait, began):
        named = row.state.instance in self.named
        return named and super().is_turn(store, row, wait, began)

    async def create_instance(self, new):
        await super().create_instance(new)
        self.named.add(new.instance)

    async def commit_turn(self, commit):
        answer = await super().commit_turn(commit)
        self.named |= {child.instance.instance for child in commit.create}
        return answer


@breaks("WAIT-3")
class LooksBeforeItListens(TellsOfWork):
    """Misses what comes between its look and the begin of its rest."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.missed = set()

    def is_turn(self, store, row, wait, began):
        missed = row.state.instance in self.missed
        return not missed and super().is_turn(store, row, wait, began)

    async def wait_for_work(self, wait):
        self.missed = set()
        if not self.has_work(wait, self.clock.now()):
            for _ in range(3):
                await asyncio.sleep(0)
            store = self.at_present()
            ready = filter(store.is_ready, store.tables.instances.values())
            self.missed = {row.state.instance for row in ready}
        await super().wait_for_work(wait)


@breaks("WAIT-1")
class ReturnsAtOnceFromAWaitForWork(ModelProvider):
    tells_of_work = True

    async def wait_for_work(self, wait):
        await asyncio.sleep(0)


@breaks("WAIT-1")
class WaitsASecondAtLeast(ModelProvider):
    async def wait_for_work(self, wait):
        await self.clock.sleep(max(wait.timeout, timedelta(seconds=1)))


@breaks("WAIT-1")
class WaitsAMinuteAtMost(ModelProvider):
    """Returns from long waits early, and from each one again."""

    async def wait_for_work(self, wait):
        if wait.timeout <= timedelta(minutes=1):
            await self.clock.sleep(wait.timeout)


@breaks("WAIT-1")
class WaitsAnInstantLonger(ModelProvider):
    async def wait_for_work(self, wait):
        await self.clock.sleep(wait.timeout + timedelta(microseconds=1))


class TellsOfChanges(Polls):
    tells_of_changes = True

    def differs(self, state, wait):
        if state is None:
            return wait.exists
        seen = (wait.exists, wait.last_commit, wait.parked)
        if wait.until_ended and wait.exists and state.status is InstanceStatus.RUNNING:
            return state.parked != wait.parked
        return (True, state.last_commit, state.parked) != seen

    def state(self, instance):
        return self.at_present().read_instance(instance)

    async def wait_for_change(self, wait):
        await self.until(wait.timeout, lambda: self.differs(self.state(wait.instance), wait))


@breaks("WAIT-2")
class ReturnsAtOnceFromAWaitForAChange(TellsOfChanges):
    async def wait_for_change(self, wait):
        await asyncio.sleep(0)


@breaks("WAIT-2")
class TellsAgainOfAnInstanceThatExists(TellsOfChanges):
    """Compares the mark with none, so a wait for a parked instance never lasts."""

    def differs(self, state, wait):
        return super().differs(state, replace(wait, parked=None))


@breaks("WAIT-4")
class MissesTheEnd(TellsOfChanges):
    def differs(self, state, wait):
        if wait.until_ended and state is not None:
            state = replace(state, status=InstanceStatus.RUNNING)
        return super().differs(state, wait)


@breaks("WAIT-4")
class MissesFailures(TellsOfChanges):
    def differs(self, state, wait):
        if wait.until_ended and state is not None and state.status is InstanceStatus.FAILED:
            state = replace(state, status=InstanceStatus.RUNNING)
        return super().differs(state, wait)


@breaks("WAIT-4")
class MissesMarksOfThoseThatWaitForTheEnd(TellsOfChanges):
    def differs(self, state, wait):
        if wait.until_ended and state is not None:
            state = replace(state, parked=wait.parked)
        return super().differs(state, wait)


@breaks("WAIT-4")
class MissesTheCreationOfThoseThatWaitForTheEnd(TellsOfChanges):
    def differs(self, state, wait):
        if wait.until_ended and not wait.exists and state is not None:
            return state.status is not InstanceStatus.RUNNING
        return super().differs(state, wait)


@breaks("WAIT-4")
class ComparesReasonsAlone(TellsOfChanges):
    def differs(self, state, wait):
        if state is not None and state.parked is not None and wait.parked is not None:
            state = replace(state, parked=replace(state.parked, details=wait.parked.details))
        return super().differs(state, wait)


class MarksByCalls(TellsOfChanges):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.hidden = {}

    def state(self, instance):
        state = super().state(instance)
        return self.hidden.get(instance, state)


@breaks("WAIT-4")
class MissesMarksOfActivities(MarksByCalls):
    async def release_activity(self, release):
        before = self.at_present().read_instance(release.lease.instance)
        await super().release_activity(release)
        self.hidden[release.lease.instance] = before


@breaks("WAIT-4")
class MissesChildren(MarksByCalls):
    def state(self, instance):
        state = super().state(instance)
        return None if state is not None and instance in self.hidden else state

    async def commit_turn(self, commit):
        answer = await super().commit_turn(commit)
        self.hidden |= dict.fromkeys(each.instance.instance for each in commit.create)
        return answer


@breaks("WAIT-4")
class WakesOneWatcherOfAnInstance(TellsOfChanges):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.watchers = {}

    async def wait_for_change(self, wait):
        watcher = self.watchers[wait.instance] = object()
        await self.until(
            wait.timeout,
            lambda: (
                self.watchers[wait.instance] is watcher
                and self.differs(self.state(wait.instance), wait)
            ),
        )


@breaks("WAIT-4")
class MissesChangesByOtherObjects(TellsOfChanges):
    """Remembers what its own calls left, and reads the storage when a wait begins."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.changes = 0

    async def create_instance(self, new):
        self.changes += 1
        await super().create_instance(new)

    async def commit_turn(self, commit):
        self.changes += 1
        return await super().commit_turn(commit)

    async def release_turn(self, release):
        self.changes += 1
        await super().release_turn(release)

    async def release_activity(self, release):
        self.changes += 1
        await super().release_activity(release)

    async def wait_for_change(self, wait):
        before, found = self.changes - 1, self.state(wait.instance)

        def differs():
            nonlocal before, found
            if self.changes > before:
                before, found = self.changes, self.state(wait.instance)
            return self.differs(found, wait)

        await self.until(wait.timeout, differs)


class TellsStates(TellsOfChanges):
    async def wait_for_change(self, wait):
        await super().wait_for_change(wait)
        return self.told(wait)

    def told(self, wait):
        return self.state(wait.instance)


@breaks("WAIT-7")
class TellsTheStateOfTheLastCommit(TellsStates):
    latest = None

    async def commit_turn(self, commit):
        answer = await super().commit_turn(commit)
        self.latest = self.state(commit.instance)
        return answer

    def told(self, wait):
        return self.latest


@breaks("WAIT-7")
class RemembersTheEnd(TellsStates):
    """Tells the end that it has committed, also after the instance was reopened."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.ended = {}

    async def commit_turn(self, commit):
        answer = await super().commit_turn(commit)
        self.ended[commit.instance] = self.state(commit.instance)
        return answer

    def told(self, wait):
        return self.ended.get(wait.instance)


@breaks("WAIT-7")
class LeavesOutOutputs(TellsStates):
    def told(self, wait):
        return replace(super().told(wait), output=None)


class TellsOfCancellations(Polls):
    tells_of_changes = True
    tells_of_cancellations = True

    async def wait_for_change(self, wait):
        await self.until(
            wait.timeout,
            lambda: TellsOfChanges.differs(
                self, self.at_present().read_instance(wait.instance), wait
            ),
        )

    def gone(self, leases):
        store = self.at_present()
        return frozenset(each for each in leases if store.leased_row(each) is None)

    async def wait_for_cancellation(self, wait):
        await self.until(wait.timeout, lambda: bool(self.gone(wait.leases)))
        return self.gone(wait.leases)


@breaks("WAIT-5")
class ReturnsAtOnceFromAWaitForCancellations(TellsOfCancellations):
    async def wait_for_cancellation(self, wait):
        await asyncio.sleep(0)
        return self.gone(wait.leases)


@breaks("WAIT-6")
class HearsOfOneInstanceOnly(TellsOfCancellations):
    """Watches the instance of the first lease."""

    async def wait_for_cancellation(self, wait):
        instance = wait.leases[0].instance
        watched = [each for each in wait.leases if each.instance == instance]
        await self.until(wait.timeout, lambda: bool(self.gone(watched)))
        return self.gone(wait.leases)


@breaks("WAIT-6")
class WakesOneOfItsWaitersForCancellations(TellsOfCancellations):
    latest = None

    async def wait_for_cancellation(self, wait):
        self.latest = wait
        await self.until(wait.timeout, lambda: self.latest is wait and bool(self.gone(wait.leases)))
        return self.gone(wait.leases)


@breaks("WAIT-6")
class NamesTheFirstThatIsGone(TellsOfCancellations):
    def gone(self, leases):
        return frozenset(sorted(super().gone(leases), key=repr)[:1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TellsOfWork, TellsOfChanges, TellsStates, TellsOfCancellations])
def test_a_provider_that_polls_passes(kind):
    broken = breaks()(kind)

    for check in CLAUSES:
        if check.family == "WAIT":
            assert what_catches(broken, check) is None


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
