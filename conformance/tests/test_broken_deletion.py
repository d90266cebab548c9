"""Providers that delete too little, too much, or for the wrong caller."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from perdure.contract import InstanceStatus, MessageKind, StoreMetrics
from perdure.errors import (
    InstanceAlreadyExists,
    InstanceNotFound,
    InstanceRunning,
    StorageUnavailable,
)
from perdure_conformance.broken_providers import StoreBackend, breaks, what_catches
from perdure_conformance.careful_store import Careful, breaks_storage
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model.listing import ModelAdmin
from perdure_conformance.model.tables import ActivityRow


@breaks("CALL-12")
class DeletesWithoutDeclaringIt(StoreBackend):
    def __init__(self):
        class Silent(ModelProvider):
            capabilities = frozenset({"recovery"})

        super().__init__(provider=Silent, capabilities=frozenset({"management", "recovery"}))


@breaks("DELETE-1", "DELETE-3")
class LeavesHistories(Store):
    def drop_executions(self, instance, before):
        rows = self.tables.executions[instance]
        return len([row for row in rows if row.state.execution < before])

    def read_history(self, instance, execution, incarnation, after):
        row = self.execution_row(instance, execution)
        return (
            self.page(row, after)
            if row is not None
            else super().read_history(instance, execution, incarnation, after)
        )

    def begin_execution(self, instance, number):
        if not self.tables.executions.get(instance) or number > 1:
            super().begin_execution(instance, number)


@breaks("DELETE-1")
class OnlyHidesFromOtherObjects(ModelProvider):
    """Remembers what it deleted, so that other objects go on."""

    async def delete_instance(self, instance, *, incarnation):
        state = await self.read_instance(instance)
        if state is None or state.incarnation != incarnation:
            return False
        if state.status is InstanceStatus.RUNNING:
            raise InstanceRunning(instance)
        self.hidden = {instance}
        return True

    async def read_instance(self, instance):
        if instance in getattr(self, "hidden", ()):
            return None
        return await super().read_instance(instance)


class CountsDeletedOnes(ModelAdmin):
    async def count_instances(self):
        count = await super().count_instances()
        deleted = self.at_present().deleted
        return replace(count, total_instances=count.total_instances + deleted)


@breaks("DELETE-1")
class CountsWhatItDeleted(ModelProvider):
    def as_management_capability(self):
        return CountsDeletedOnes(self.at_present)

    async def delete_instance(self, instance, *, incarnation):
        deleted = await super().delete_instance(instance, incarnation=incarnation)
        self._store.deleted = getattr(self._store, "deleted", 0) + deleted
        return deleted


@breaks("DELETE-2")
class DeletesRunningInstances(Store):
    def delete_instance(self, instance, incarnation):
        row = self.row_of(instance, incarnation)
        if row is not None:
            self.delete(row)
        return row is not None


@breaks("DELETE-2")
class DeletesAnyIncarnation(Store):
    def delete_instance(self, instance, incarnation):
        row = self.tables.instances.get(instance)
        return row is not None and super().delete_instance(instance, row.state.incarnation)


@breaks("DELETE-2")
class RaisesForWhatIsNotThere(Store):
    def delete_instance(self, instance, incarnation):
        if not super().delete_instance(instance, incarnation):
            raise InstanceNotFound(instance)
        return True


@breaks("DELETE-2")
class DeletesEventsThatWait(Store):
    def delete_instance(self, instance, incarnation):
        self.drop_messages(instance)
        return super().delete_instance(instance, incarnation)


@breaks("DELETE-2", "DELETE-11")
class SaysThatItDeletedAgain(Store):
    def delete_instance(self, instance, incarnation):
        super().delete_instance(instance, incarnation)
        return True


class KeepsVoidMessages(Store):
    """Leaves the messages of an ended instance to a deletion."""

    def drop_void(self, instance):
        if self.tables.instances[instance].state.status is InstanceStatus.RUNNING:
            super().drop_void(instance)


@breaks("DELETE-3")
class LeavesMessages(KeepsVoidMessages):
    def drop_messages(self, instance):
        pass


@breaks("DELETE-3")
class LeavesEventsThatCameAfterTheEnd(Store):
    def put(self, message):
        row = self.tables.instances.get(message.instance)
        ended = row is not None and row.state.status is not InstanceStatus.RUNNING
        if ended and message.kind is MessageKind.EVENT:
            kept = self.tables.instances.pop(message.instance)
            super().put(message)
            self.tables.instances[message.instance] = kept
        else:
            super().put(message)

    def drop_messages(self, instance):
        pass


@breaks("DELETE-3")
class KeepsTheIdForItself(Store):
    def delete(self, row):
        super().delete(row)
        self.used = {*getattr(self, "used", ()), row.state.instance}

    def create_instance(self, new):
        if new.instance in getattr(self, "used", ()):
            raise InstanceAlreadyExists(new.instance)
        super().create_instance(new)


@breaks("DELETE-3")
class RemembersTheDelivery(Store):
    def delete(self, row):
        super().delete(row)
        self.seen = {*getattr(self, "seen", ()), row.state.instance}

    def give_activity(self, row: ActivityRow, request):
        row.delivery += row.instance in getattr(self, "seen", ())
        return super().give_activity(row, request)


@breaks("DELETE-4")
class CompletesByTheIdAlone(Store):
    def complete_activity(self, completion):
        if completion.lease.instance in self.tables.instances:
            super().complete_activity(completion)
        else:
            self.put(completion.message)


@breaks("DELETE-4")
class DeliversToAnyIncarnation(Store):
    def is_void(self, message):
        return super().is_void(replace(message, incarnation=None))


@breaks("DELETE-4")
class RenewsWhatIsGone(Store):
    def renew_activities(self, leases, lease_for):
        gone = super().renew_activities(leases, lease_for)
        return frozenset(lease for lease in gone if lease.instance in self.tables.instances)


@breaks("DELETE-4")
class ParksByTheIdAlone(Store):
    def release_activity(self, release):
        row = self.tables.instances.get(release.lease.instance)
        if row is not None and release.parked is not None:
            self.park(row, release.parked)
        super().release_activity(release)


@breaks("DELETE-4")
class IgnoresEventsAfterADeletion(Store):
    def delete(self, row):
        super().delete(row)
        self.ignored = {*getattr(self, "ignored", ()), row.state.instance}

    def put(self, message):
        gone = message.instance not in self.tables.instances
        if not (gone and message.instance in getattr(self, "ignored", ())):
            super().put(message)


@breaks("DELETE-5")
class DeletesChildren(Store):
    def delete(self, row):
        name = row.state.instance
        super().delete(row)
        for child in list(self.tables.instances.values()):
            if child.state.parent is not None and child.state.parent.instance == name:
                self.delete(child)


@breaks("DELETE-5")
class DeletesWhatItToldOthers(Store):
    def delete(self, row):
        super().delete(row)
        if row.state.parent is not None:
            self.tables.mailboxes[row.state.parent.instance].clear()


@breaks("DELETE-6")
class ReplacesRunningInstances(Store):
    def is_replaced(self, row, new):
        return row.state.incarnation == new.replaces != new.incarnation


@breaks("DELETE-6")
class ReplacesAnyIncarnation(Store):
    def is_replaced(self, row, new):
        ended = row.state.status is not InstanceStatus.RUNNING
        return new.replaces is not None and ended and row.state.incarnation != new.incarnation


@breaks("DELETE-6")
class NeverReplaces(Store):
    def is_replaced(self, row, new):
        return False


@breaks("DELETE-6")
class ReplacesNothingThatIsNotThere(Store):
    def create_instance(self, new):
        if new.replaces is not None and new.instance not in self.tables.instances:
            raise InstanceNotFound(new.instance)
        super().create_instance(new)


@breaks("DELETE-6")
class LetsChildrenReplace(ModelProvider):
    async def commit_turn(self, commit):
        return self.at_present().commit_turn(commit)


@breaks("DELETE-7", "DELETE-11")
class DeletesAndThenCreates(ModelProvider):
    async def create_instance(self, new):
        store = self.at_present()
        row = store.tables.instances.get(new.instance)
        if row is not None and store.is_replaced(row, new):
            store.delete(row)
            await asyncio.sleep(0)
            if new.instance in self._store.tables.instances:
                return
        self.at_present().create_instance(new)


@breaks("DELETE-8")
class PrunesTheCurrentExecution(Store):
    def prune_executions(self, instance, incarnation, before):
        self.require_instance(instance, incarnation)
        return self.drop_executions(instance, before)


@breaks("DELETE-8")
class PrunesOneTooMany(Store):
    def prune_executions(self, instance, incarnation, before):
        return super().prune_executions(instance, incarnation, before + 1)


@breaks("DELETE-8")
class OnlyEmptiesExecutions(Store):
    def drop_executions(self, instance, before):
        rows = [row for row in self.tables.executions[instance] if row.state.execution < before]
        emptied = [row.events.clear() for row in rows if row.events]
        return len(emptied)


@breaks("DELETE-8")
class PrunesAnyIncarnation(Store):
    def prune_executions(self, instance, incarnation, before):
        row = self.tables.instances.get(instance)
        if row is None:
            return 0
        return super().prune_executions(instance, row.state.incarnation, before)


class CountsAll(ModelAdmin):
    async def count_instances(self):
        found: StoreMetrics = await super().count_instances()
        newest = sum(row.state.execution for row in self.at_present().tables.instances.values())
        return replace(found, total_executions=newest)


@breaks("DELETE-8")
class CountsPrunedExecutions(ModelProvider):
    def as_management_capability(self):
        return CountsAll(self.at_present)


@breaks("DELETE-9")
class DeletesEventsOfEveryId(Store):
    def delete_early_events(self, instance, arrived_before, limit):
        return super().delete_early_events(None, arrived_before, limit)


@breaks("DELETE-9")
class DeletesMoreThanTheLimit(Store):
    def delete_early_events(self, instance, arrived_before, limit):
        return min(limit, super().delete_early_events(instance, arrived_before, 1000))


@breaks("DELETE-9")
class IgnoresTheAge(Store):
    def is_older(self, entry, arrived_before):
        return True


@breaks("DELETE-9")
class TakesDueTimesForArrivals(Store):
    def is_older(self, entry, arrived_before):
        return arrived_before is None or entry.due < arrived_before


@breaks("DELETE-9")
class DeletesEventsOfInstances(Store):
    def delete_early_events(self, instance, arrived_before, limit):
        kept, self.tables.instances = self.tables.instances, {}
        try:
            return super().delete_early_events(instance, arrived_before, limit)
        finally:
            self.tables.instances = kept


@breaks("DELETE-9")
class KeepsTheIdsOfDeletedEvents(Store):
    def delete_early_events(self, instance, arrived_before, limit):
        before = set(self.tables.mailboxes.get("c", ()))
        deleted = super().delete_early_events(instance, arrived_before, limit)
        self.used = before - set(self.tables.mailboxes.get("c", ()))
        return deleted

    def put(self, message):
        if message.instance != "c" or message.id not in getattr(self, "used", ()):
            super().put(message)


@breaks("DELETE-10")
class DeletesAllNamespaces(StoreBackend):
    def key(self, namespace):
        return ""


@breaks("DELETE-10")
class LeavesEventsThatWait(Store):
    def delete_namespace(self):
        waiting = {
            name: box
            for name, box in self.tables.mailboxes.items()
            if name not in self.tables.instances
        }
        super().delete_namespace()
        self.tables.mailboxes |= waiting


@breaks("DELETE-10")
class DeletesInstancesThatHaveEnded(Store):
    def delete_namespace(self):
        for row in list(self.tables.instances.values()):
            if row.state.status is not InstanceStatus.RUNNING:
                self.delete(row)


@breaks("DELETE-10")
class LeavesTheOtherObjects(ModelProvider):
    """Begins a new store, and does not tell the other objects."""

    async def delete_namespace(self):
        self._store = type(self._store)()


@breaks("DELETE-11")
class EmptiesExecutionsAndThenPrunes(ModelProvider):
    async def prune_executions(self, instance, *, incarnation, before):
        store = self.at_present()
        store.require_instance(instance, incarnation)
        for row in store.tables.executions[instance][:-1]:
            if row.state.execution < before:
                del row.events[10:]
                await asyncio.sleep(0)
        return self.at_present().prune_executions(instance, incarnation, before)


class TellsOfChanges(ModelProvider):
    """Looks every tenth of a second at the commit alone."""

    tells_of_changes = True

    async def wait_for_change(self, wait):
        for _ in range(int(wait.timeout.total_seconds() * 10)):
            state = await self.read_instance(wait.instance)
            if self.differs(state, wait):
                return
            await self.clock.sleep(timedelta(milliseconds=100))


@breaks("DELETE-13")
class SleepsThroughADeletion(TellsOfChanges):
    def differs(self, state, wait):
        return state is not None and state.last_commit != wait.last_commit


@breaks_storage("DELETE-12")
class LeavesHalfADeletion(Careful):
    def take_back_deletion(self, before):
        raise StorageUnavailable("the disk is busy", operation="delete_instance")


@breaks_storage("DELETE-12")
class AcknowledgesADeletionThatFailed(Careful):
    def take_back_deletion(self, before):
        self.tables = before


@breaks_storage("DELETE-12")
class AcknowledgesAPruningThatFailed(Careful):
    def take_back_pruning(self, before):
        self.tables = before
        return 2


@breaks_storage("DELETE-12")
class LeavesHalfAnExecution(Careful):
    def take_back_pruning(self, before):
        for rows in before.executions.values():
            del rows[0].events[10:]
        return super().take_back_pruning(before)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
