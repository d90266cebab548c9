"""Providers that reopen or terminate an instance by halves, too often, or for the wrong caller."""

import asyncio
import copy
from dataclasses import replace

from perdure.contract import CommitAnswer, InstanceStatus, Message
from perdure.errors import HistoryConflict, StorageUnavailable
from perdure_conformance.broken_providers import StoreBackend, breaks, what_catches
from perdure_conformance.careful_store import Careful, breaks_storage
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store


@breaks("CALL-12")
class DeclaresLessThanItsPackage(ModelProvider):
    capabilities = frozenset()


@breaks("CALL-12")
class HasMoreThanItDeclares(StoreBackend):
    def __init__(self):
        class Silent(ModelProvider):
            capabilities = frozenset()

        super().__init__(provider=Silent, capabilities=frozenset({"management"}))


class Reopens(Store):
    """Reopens instances; a subclass changes one thing of the instance afterwards."""

    def reopen(self, row, reopening):
        before = row.state
        super().reopen(row, reopening)
        self.afterwards(row, before)


@breaks("RECOVER-1")
class KeepsTheOutput(Reopens):
    def afterwards(self, row, before):
        row.state = replace(row.state, output=before.output)


@breaks("RECOVER-1")
class KeepsTheMarkOfAReopenedOne(Reopens):
    def afterwards(self, row, before):
        row.state = replace(row.state, parked=before.parked)


@breaks("RECOVER-1")
class CreatesAgain(Reopens):
    def afterwards(self, row, before):
        row.state = replace(row.state, created_at=self.now)


@breaks("RECOVER-1")
class ForgetsTheParentOfAReopenedOne(Reopens):
    def afterwards(self, row, before):
        row.state = replace(row.state, parent=None)


@breaks("RECOVER-1")
class GoesOnCountingEvents(Reopens):
    def afterwards(self, row, before):
        row.state = replace(row.state, last_event=before.last_event)


@breaks("RECOVER-1")
class KeepsTheDelay(Store):
    def reopen(self, row, reopening):
        hidden = row.hidden_until
        super().reopen(row, reopening)
        row.hidden_until = hidden


@breaks("RECOVER-1", "RECOVER-5")
class KeepsTheAttempt(Store):
    def reopen(self, row, reopening):
        attempt = row.attempt
        super().reopen(row, reopening)
        row.attempt = attempt


@breaks("RECOVER-1")
class DoesNotNoteTheTime(Reopens):
    def afterwards(self, row, before):
        row.state = replace(row.state, updated_at=before.updated_at)


@breaks("RECOVER-2")
class EndsTheOldExecutionAgain(Store):
    def leave_execution(self, row):
        row.state = replace(row.state, status=InstanceStatus.RUNNING)
        super().leave_execution(row)


@breaks("RECOVER-2")
class ForgetsTheOldHistory(Reopens):
    def afterwards(self, row, before):
        self.tables.executions[before.instance][-2].events.clear()


@breaks("RECOVER-2")
class BeginsWhenItWasCreated(Reopens):
    def afterwards(self, row, before):
        execution = self.tables.executions[before.instance][-1]
        execution.state = replace(execution.state, started_at=before.created_at)


class KeepsVoidMessages(Store):
    """Deletes the messages of an ended instance later, and judges when it delivers."""

    def drop_void(self, instance):
        if self.tables.instances[instance].state.status is InstanceStatus.RUNNING:
            super().drop_void(instance)

    def drop_messages(self, instance):
        pass


@breaks("RECOVER-3")
class DeliversWhatWasLeft(KeepsVoidMessages):
    pass


@breaks("RECOVER-3")
class DeliversWhatCameLate(Store):
    def drop_messages(self, instance):
        pass

    def put(self, message):
        row = self.tables.instances.get(message.instance)
        if row is None or row.state.status is InstanceStatus.RUNNING:
            return super().put(message)
        kept, row.state = row.state, replace(row.state, status=InstanceStatus.RUNNING)
        super().put(message)
        row.state = kept
        return None


@breaks("RECOVER-3")
class LeavesIdsInUse(Store):
    """Remembers the ids of the messages that it dropped."""

    def drop_void(self, instance):
        before = set(self.tables.mailboxes.get(instance, {}))
        super().drop_void(instance)
        self.used = getattr(self, "used", set()) | before

    def put(self, message: Message):
        if message.id not in getattr(self, "used", ()):
            super().put(message)


@breaks("RECOVER-4")
class DropsEverything(Store):
    def reopen(self, row, reopening):
        self.tables.mailboxes.pop(reopening.instance, None)
        super().reopen(row, reopening)


@breaks("RECOVER-4")
class KeepsResultsOfTheOldExecution(Store):
    def reopen(self, row, reopening):
        box = self.tables.mailboxes.get(reopening.instance, {})
        for entry in box.values():
            entry.message = replace(entry.message, execution=None)
        super().reopen(row, reopening)


@breaks("RECOVER-4")
class PutsTheStartBehind(Store):
    def reopen(self, row, reopening):
        super().reopen(row, reopening)
        box = self.tables.mailboxes[reopening.instance]
        entry = box[reopening.start.id]
        entry.message = replace(entry.message, kind="child")
        entry.front = None


@breaks("RECOVER-4")
class LeavesTheOldExecutionRunning(Store):
    def leave_execution(self, row):
        pass


@breaks("RECOVER-4")
class KeepsActivities(Store):
    def drop_void_activities(self, instance):
        pass

    def is_wanted(self, row):
        return self.row_of(row.instance, row.incarnation) is not None


@breaks("RECOVER-5", "RECOVER-7")
class KeepsTheLease(Store):
    def end_lease(self, row):
        lease = row.lease
        super().end_lease(row)
        row.lease = lease


@breaks("RECOVER-5")
class RemembersALeaseThatWasTakenOver(Store):
    def end_lease(self, row):
        taken = row.taken_from
        super().end_lease(row)
        row.taken_from = taken


@breaks("RECOVER-6", "RECOVER-9")
class ReopensAgain(Store):
    def reopen_instance(self, reopening):
        row = self.require_instance(reopening.instance, reopening.incarnation)
        if row.state.last_commit == reopening.id:
            start = replace(reopening.start, execution=row.state.execution + 1)
            reopening = replace(reopening, execution=row.state.execution, id="again", start=start)
        super().reopen_instance(reopening)


@breaks("RECOVER-6")
class RefusesARepeat(Store):
    def reopen_instance(self, reopening):
        row = self.require_instance(reopening.instance, reopening.incarnation)
        self.require_execution(row, reopening)
        super().reopen_instance(reopening)


@breaks("RECOVER-6")
class ReopensAnyExecution(Store):
    def require_execution(self, row, reopening):
        pass


@breaks("RECOVER-6")
class ReopensAnyIncarnation(Store):
    def reopen_instance(self, reopening):
        row = self.tables.instances.get(reopening.instance)
        incarnation = reopening.incarnation if row is None else row.state.incarnation
        super().reopen_instance(replace(reopening, incarnation=incarnation))


@breaks("RECOVER-6")
class ForgetsThatItReopened(Reopens):
    def afterwards(self, row, before):
        row.state = replace(row.state, last_commit=before.last_commit)


@breaks("RECOVER-7")
class LooksAndThenReopens(ModelProvider):
    async def reopen_instance(self, reopening):
        store = self.at_present()
        row = store.require_instance(reopening.instance, reopening.incarnation)
        store.require_execution(row, reopening)
        await asyncio.sleep(0)
        start = replace(reopening.start, execution=row.state.execution + 1)
        self.at_present().reopen(row, replace(reopening, start=start))


@breaks("RECOVER-8")
class NeverUnpins(Store):
    def set_reopened(self, row, reopening):
        super().set_reopened(row, replace(reopening, unpin=False))


@breaks("RECOVER-8")
class AlwaysUnpins(Store):
    def set_reopened(self, row, reopening):
        super().set_reopened(row, replace(reopening, unpin=True))


@breaks("RECOVER-8")
class IgnoresTheEngine(Store):
    def set_reopened(self, row, reopening):
        super().set_reopened(row, replace(reopening, engine=None))


@breaks("RECOVER-8")
class IgnoresTheVersion(Store):
    def set_reopened(self, row, reopening):
        super().set_reopened(row, replace(reopening, version=None))


@breaks("RECOVER-9")
class StartsAStepLater(ModelProvider):
    async def reopen_instance(self, reopening):
        store = self.at_present()
        before = store.require_instance(reopening.instance, reopening.incarnation).state
        store.reopen_instance(reopening)
        if before.execution == reopening.execution:
            del store.tables.mailboxes[reopening.instance][reopening.start.id]
            await asyncio.sleep(0)
            store.put(reopening.start)


@breaks("RECOVER-10")
class TakesAnyStart(ModelProvider):
    async def reopen_instance(self, reopening):
        self.at_present().reopen_instance(reopening)


@breaks("RECOVER-11", "RECOVER-12")
class AnswersNothing(Store):
    def terminate_instance(self, termination):
        super().terminate_instance(termination)


@breaks("RECOVER-11")
class TerminatesAsCompleted(Store):
    def terminate(self, row, termination):
        super().terminate(row, termination)
        row.state = replace(row.state, status=InstanceStatus.COMPLETED)


@breaks("RECOVER-11")
class WaitsForTheLease(Store):
    def terminate_instance(self, termination):
        row = self.tables.instances.get(termination.instance)
        if row is not None and self.is_live(row.lease):
            raise StorageUnavailable("the instance is leased", operation="terminate_instance")
        return super().terminate_instance(termination)


@breaks("RECOVER-11")
class SendsNothingAtATermination(Store):
    def terminate(self, row, termination):
        super().terminate(row, replace(termination, send=()))


@breaks("RECOVER-11")
class WritesNoEventsOfATermination(Store):
    def terminate(self, row, termination):
        super().terminate(row, replace(termination, events=()))


@breaks("RECOVER-11")
class KeepsTheLeaseOfATerminatedInstance(Store):
    def terminate(self, row, termination):
        lease = row.lease
        super().terminate(row, termination)
        row.lease = lease


@breaks("RECOVER-12")
class SaysThatItTerminatedNothingTwice(Store):
    def terminate_instance(self, termination):
        row = self.require_instance(termination.instance, termination.incarnation)
        return row.state.last_commit != termination.id and super().terminate_instance(termination)


@breaks("RECOVER-12")
class TerminatesWhatHasEnded(Store):
    def terminate_instance(self, termination):
        row = self.require_instance(termination.instance, termination.incarnation)
        if row.state.last_commit != termination.id:
            self.terminate(row, termination)
        return True


@breaks("RECOVER-12", "RECOVER-13")
class TellsOthersAgain(Store):
    def terminate_instance(self, termination):
        ended = super().terminate_instance(termination)
        for message in termination.send:
            self.put(replace(message, id=f"{message.id} again"))
        return ended


@breaks("RECOVER-12")
class TerminatesAnyIncarnation(Store):
    def terminate_instance(self, termination):
        row = self.tables.instances.get(termination.instance)
        if row is not None:
            termination = replace(termination, incarnation=row.state.incarnation)
        return super().terminate_instance(termination)


@breaks("RECOVER-13")
class TellsOthersAStepLater(ModelProvider):
    async def terminate_instance(self, termination):
        store = self.at_present()
        running = (await self.read_instance(termination.instance)).output is None
        ended = store.terminate_instance(replace(termination, send=()))
        await asyncio.sleep(0)
        for message in termination.send if running else ():
            store.put(message)
        return ended


@breaks("RECOVER-14")
class SleepsThroughRecovery(ModelProvider):
    """Tells of commits alone."""

    tells_of_changes = True

    async def wait_for_change(self, wait):
        await self.clock.sleep(wait.timeout)


@breaks("RECOVER-14")
class SleepsThroughAStart(ModelProvider):
    tells_of_work = True

    async def wait_for_work(self, wait):
        await self.clock.sleep(wait.timeout)


@breaks_storage("RECOVER-15")
class LeavesHalfAReopening(Careful):
    def take_back_reopening(self, before, reopening):
        raise StorageUnavailable("the disk is busy", operation="reopen_instance")


@breaks_storage("RECOVER-15")
class LosesTheActivitiesOfAReopeningThatFailed(Careful):
    def take_back_reopening(self, before, reopening):
        before.activities.clear()
        super().take_back_reopening(before, reopening)


@breaks_storage("RECOVER-15")
class RefusesAReopeningThatFails(Careful):
    def take_back_reopening(self, before, reopening):
        self.tables = before
        raise HistoryConflict(reopening.instance, expected=(1, 0), found=(1, 0))


@breaks_storage("RECOVER-15")
class AcknowledgesAReopeningThatFailed(Careful):
    def take_back_reopening(self, before, reopening):
        self.tables = before


@breaks_storage("RECOVER-15")
class AcknowledgesATerminationThatFailed(Careful):
    def take_back_commit(self, before, commit):
        self.tables = before
        return CommitAnswer()


@breaks_storage("RECOVER-15")
class TellsOthersOfATerminationThatFailed(Careful):
    def take_back_commit(self, before, commit):
        before.mailboxes["neighbour"] = copy.copy(self.tables.mailboxes["neighbour"])
        return super().take_back_commit(before, commit)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
