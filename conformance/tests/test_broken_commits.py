"""Providers whose commits accept what they must refuse, or carry out something else than asked."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from perdure.contract import CommitAnswer, InstanceStatus, MessageKind
from perdure.errors import (
    ActivityLeaseLost,
    HistoryConflict,
    InstanceAlreadyExists,
    LeaseLost,
    ProviderError,
)
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store


class Commits(Store):
    """Carries out another commit than the one it was given."""

    def changed(self, commit):
        return commit

    def carry_out(self, row, commit):
        return super().carry_out(row, self.changed(commit))


class Fields(Store):
    """Sets plain fields otherwise."""

    def changed(self, before, after):
        return after

    def set_fields(self, row, commit):
        before = row.state
        super().set_fields(row, commit)
        row.state = self.changed(before, row.state)


@breaks("COMMIT-1", "CALL-1", "READ-1")
class ForgetsWhenItWasUpdated(Fields):
    def changed(self, before, after):
        return replace(after, updated_at=before.updated_at)


@breaks("COMMIT-1")
class ForgetsWhenItWasCreated(Fields):
    def changed(self, before, after):
        return replace(after, created_at=after.updated_at)


@breaks("COMMIT-1", "COMMIT-8")
class ForgetsEmptyCommits(Fields):
    def changed(self, before, after):
        return (
            after
            if after.last_event > before.last_event
            else replace(after, last_commit=before.last_commit)
        )


@breaks("COMMIT-1", "HIST-1")
class NumbersFromZero(Store):
    def append_events(self, commit):
        super().append_events(commit)
        events = self.tables.executions[commit.instance][-1].events
        events[:] = [replace(event, number=number) for number, event in enumerate(events)]


@breaks("COMMIT-2", "COMMIT-7")
class AcceptsAnyToken(Store):
    def require_lease(self, row, commit):
        if row is None or not self.is_live(row.lease):
            raise LeaseLost(commit.instance, operation="commit_turn")
        return row


@breaks("COMMIT-2")
class RefusesALateCommit(Store):
    def require_lease(self, row, commit):
        if row is not None and not self.is_live(row.lease):
            raise LeaseLost(commit.instance, operation="commit_turn")
        return super().require_lease(row, commit)


@breaks("COMMIT-2", "LEASE-3", "LEASE-17")
class AcceptsALateCommitAfterATakeover(Store):
    def __init__(self):
        super().__init__()
        self.tokens = set()

    def give_turn(self, row, request):
        self.tokens.add((row.state.instance, request.token))
        return super().give_turn(row, request)

    def require_lease(self, row, commit):
        if row is not None and (commit.instance, commit.token) in self.tokens:
            return row
        return super().require_lease(row, commit)


@breaks("COMMIT-2", "LEASE-3", "COMMIT-6")
class LooksAtNoLease(Store):
    def require_lease(self, row, commit):
        if row is None:
            raise LeaseLost(commit.instance, operation="commit_turn")
        return row


@breaks("COMMIT-2")
class SaysConflictWhereTheLeaseIsLost(Store):
    def require_lease(self, row, commit):
        try:
            return super().require_lease(row, commit)
        except LeaseLost:
            raise HistoryConflict(commit.instance, expected=(1, 1), found=(0, 0)) from None


@breaks("COMMIT-3")
class CommitsToAnyIncarnation(Store):
    def commit_turn(self, commit):
        row = self.tables.instances.get(commit.instance)
        return super().commit_turn(
            replace(commit, incarnation=row.state.incarnation) if row else commit
        )


@breaks("COMMIT-4", "COMMIT-7", "COMMIT-26")
class LooksAtNoHistory(Store):
    def require_history(self, row, commit):
        pass


@breaks("COMMIT-4")
class ComparesNumbersWithoutTheExecution(Store):
    def require_history(self, row, commit):
        super().require_history(row, replace(commit, execution=row.state.execution))


@breaks("COMMIT-4")
class AcceptsALongerHistory(Store):
    def require_history(self, row, commit):
        if (commit.execution, commit.expected_event) > (row.state.execution, row.state.last_event):
            super().require_history(row, commit)


@breaks("COMMIT-4", "COMMIT-6")
class ReleasesOnConflict(Store):
    def require_history(self, row, commit):
        try:
            super().require_history(row, commit)
        except HistoryConflict:
            self.let_go(row)
            raise


@breaks("COMMIT-4")
class MisnamesTheConflict(Store):
    def require_history(self, row, commit):
        try:
            super().require_history(row, commit)
        except HistoryConflict as error:
            raise HistoryConflict(
                commit.instance, expected=error.found, found=error.expected
            ) from None


@breaks("COMMIT-5", "COMMIT-6", "COMMIT-7", "RACE-1")
class TreatsFinishedActivitiesAsAFilter(Store):
    def require_activities(self, commit):
        pass


@breaks("COMMIT-5")
class NamesTheFirstLostActivity(Store):
    def require_activities(self, commit):
        try:
            super().require_activities(commit)
        except ActivityLeaseLost as error:
            raise ActivityLeaseLost(
                commit.instance, error.activities[:1], operation="commit_turn"
            ) from None


@breaks("COMMIT-5")
class NamesEveryFinishedActivity(Store):
    def require_activities(self, commit):
        try:
            super().require_activities(commit)
        except ActivityLeaseLost:
            everything = [lease.activity for lease in commit.finish]
            raise ActivityLeaseLost(commit.instance, everything, operation="commit_turn") from None


@breaks("COMMIT-5")
class FinishesUnderAnyToken(Store):
    def require_activities(self, commit):
        own = []
        for lease in commit.finish:
            row = self.tables.activities.get((lease.instance, lease.activity))
            own.append(replace(lease, token=row.lease.token) if row and row.lease else lease)
        super().require_activities(replace(commit, finish=tuple(own)))


@breaks("COMMIT-5")
class FinishesLiveLeasesOnly(Store):
    def require_activities(self, commit):
        lost = []
        for lease in commit.finish:
            row = self.leased_row(lease)
            if row is None or not self.is_live(row.lease):
                lost.append(lease.activity)
        if lost:
            raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")


@breaks("COMMIT-5")
class FinishesWhatOthersTookOver(Store):
    def require_activities(self, commit):
        lost = [
            lease.activity
            for lease in commit.finish
            if self.leased_row(lease) is None
            and (
                (row := self.tables.activities.get((lease.instance, lease.activity))) is None
                or row.delivery < 2
            )
        ]
        if lost:
            raise ActivityLeaseLost(commit.instance, lost, operation="commit_turn")


@breaks("COMMIT-6")
class LooksAtTheHistoryFirst(Store):
    def require_lease(self, row, commit):
        if row is not None:
            self.require_history(row, commit)
        return super().require_lease(row, commit)


@breaks("COMMIT-6")
class LooksAtActivitiesFirst(Store):
    def require_history(self, row, commit):
        self.require_activities(commit)
        super().require_history(row, commit)


@breaks("COMMIT-6", "COMMIT-8")
class LooksForTheRepeatLast(Store):
    def is_repeat(self, row, commit):
        return super().is_repeat(row, commit) and self.is_held(row.lease, commit.token)


class Early(Store):
    """Does something before it has looked at everything."""

    def early(self, commit):
        raise NotImplementedError

    def require_activities(self, commit):
        if commit.finish:
            self.early(commit)
        super().require_activities(commit)


@breaks("COMMIT-7")
class AppendsInARefusedCommit(Early):
    def early(self, commit):
        row = self.tables.executions[commit.instance][-1]
        before = list(row.events)
        self.append_events(commit)
        if all(self.leased_row(lease) is not None for lease in commit.finish):
            row.events[:] = before


@breaks("COMMIT-7")
class SendsInARefusedCommit(Early):
    def early(self, commit):
        for message in commit.send:
            self.put(message)


@breaks("COMMIT-7")
class CreatesInARefusedCommit(Early):
    def early(self, commit):
        self.create_children(commit)


@breaks("COMMIT-7")
class RemovesInARefusedCommit(Early):
    def early(self, commit):
        self.remove_messages(commit.instance, commit.remove)


@breaks("COMMIT-7")
class CancelsInARefusedCommit(Early):
    def early(self, commit):
        self.remove_activities(commit.instance, commit.cancel)


@breaks("COMMIT-7")
class AddsInARefusedCommit(Early):
    def early(self, commit):
        self.add_activities(commit)


@breaks("COMMIT-7")
class FinishesInARefusedCommit(Store):
    def require_activities(self, commit):
        lost = [lease for lease in commit.finish if self.leased_row(lease) is None]
        if lost:
            self.remove_activities(commit.instance, [lease.activity for lease in commit.finish])
            raise ActivityLeaseLost(
                commit.instance, [e.activity for e in lost], operation="commit_turn"
            )


@breaks("COMMIT-7")
class UpdatesFieldsInARefusedCommit(Early):
    def early(self, commit):
        row = self.tables.instances[commit.instance]
        row.state = replace(row.state, updated_at=self.now)


@breaks("COMMIT-8")
class ForgetsAnExpiredLeaseInARepeat(Store):
    def repeated_answer(self, row, commit):
        answer = super().repeated_answer(row, commit)
        if self.is_live(row.lease):
            return answer
        return replace(answer, lease_until=None, messages=(), more=False)


@breaks("COMMIT-8")
class RefusesARepeatedCommit(Store):
    def is_repeat(self, row, commit):
        return False


@breaks("COMMIT-8")
class CarriesARepeatOutAgain(Store):
    def repeated_answer(self, row, commit):
        for message in commit.send:
            self.put(replace(message, id=f"{message.id} again"))
        return super().repeated_answer(row, commit)


@breaks("COMMIT-8")
class AnswersARepeatWithNothing(Store):
    def repeated_answer(self, row, commit):
        return CommitAnswer()


@breaks("COMMIT-8")
class ForgetsWhatWasInUse(Store):
    def repeated_answer(self, row, commit):
        return replace(super().repeated_answer(row, commit), in_use=frozenset())


@breaks("COMMIT-8")
class ForgetsTheMessagesOfARepeat(Store):
    def repeated_answer(self, row, commit):
        return replace(super().repeated_answer(row, commit), messages=())


@breaks("COMMIT-8")
class PromisesALeaseThatIsGone(Store):
    def repeated_answer(self, row, commit):
        return row.answer


@breaks("COMMIT-8")
class TellsARepeatByTheNumbers(Store):
    def is_repeat(self, row, commit):
        last = commit.expected_event + len(commit.events)
        return super().is_repeat(row, commit) or (
            row.state.last_commit is not None
            and bool(commit.events)
            and row.state.last_event == last
        )


@breaks("COMMIT-9")
class RemovesOnlyWhatIsVisible(Commits):
    def changed(self, commit):
        visible = {entry.message.id for entry in self.visible(commit.instance)}
        return replace(commit, remove=tuple(visible & set(commit.remove)))


@breaks("COMMIT-9")
class RemovesOnlyWhatWasDelivered(Commits):
    def give_turn(self, row, request):
        turn = super().give_turn(row, request)
        self.delivered = {message.id for message in turn.messages}
        return turn

    def changed(self, commit):
        return replace(commit, remove=tuple(set(commit.remove) & self.delivered))


@breaks("COMMIT-9", "COMMIT-23")
class RemovesTheWholeMailbox(Commits):
    def changed(self, commit):
        return replace(commit, remove=tuple(self.tables.mailboxes.get(commit.instance, {})))


@breaks("COMMIT-9")
class RefusesToRemoveTheUnknown(Store):
    def remove_messages(self, instance, ids):
        for message in ids:
            if message not in self.tables.mailboxes.get(instance, {}):
                raise ProviderError("the message is unknown", operation="commit_turn")
        super().remove_messages(instance, ids)


@breaks("COMMIT-10", "COMMIT-12")
class LosesAddedActivitiesWhenItCancels(Commits):
    def changed(self, commit):
        return replace(commit, add=()) if commit.cancel else commit


@breaks("COMMIT-10", "ACT-1", "ACT-3")
class ForgetsTags(Commits):
    def changed(self, commit):
        return replace(commit, add=tuple(replace(new, tag=None) for new in commit.add))


@breaks("COMMIT-10", "CALL-7")
class ForgetsInputs(Commits):
    def changed(self, commit):
        return replace(commit, add=tuple(replace(new, data=b"") for new in commit.add))


@breaks("COMMIT-11")
class AddsEverythingUnleased(Commits):
    def changed(self, commit):
        return replace(commit, add=tuple(replace(new, lease=False) for new in commit.add))


@breaks("COMMIT-11")
class CountsNoDeliveryOfAddedLeases(Store):
    def add_activities(self, commit):
        super().add_activities(commit)
        for new in commit.add:
            row = self.tables.activities.get((commit.instance, new.id))
            if row is not None:
                row.delivery = 0


@breaks("COMMIT-11")
class LeasesAddedActivitiesAsLongAsTheTurn(Commits):
    def changed(self, commit):
        return replace(commit, activity_lease_for=commit.activity_lease_for and commit.keep_for)


@breaks("COMMIT-11")
class DoesNotTellTheEndOfAddedLeases(Store):
    def answer(self, row, commit, in_use):
        return replace(super().answer(row, commit, in_use), activities_until=None)


@breaks("COMMIT-12", "ACT-10")
class CancelsOnlyWhatWaits(Store):
    def remove_activities(self, instance, ids):
        keep = [
            i
            for i in ids
            if (r := self.tables.activities.get((instance, i))) and self.is_live(r.lease)
        ]
        finished = getattr(self, "finishing", ())
        super().remove_activities(instance, [i for i in ids if i not in keep or i in finished])

    def carry_out(self, row, commit):
        self.finishing = [lease.activity for lease in commit.finish]
        return super().carry_out(row, commit)


@breaks("COMMIT-12")
class AddsWhatItCancels(Store):
    def add_activities(self, commit):
        super().add_activities(replace(commit, cancel=()))


@breaks("COMMIT-12", "ACT-21")
class CancelsInEveryInstance(Store):
    def remove_activities(self, instance, ids):
        for key in [key for key in self.tables.activities if key[1] in ids]:
            del self.tables.activities[key]


@breaks("COMMIT-13")
class OnlyReleasesWhatItFinishes(Commits):
    def changed(self, commit):
        for lease in commit.finish:
            self.tables.activities[lease.instance, lease.activity].lease = None
        return replace(commit, finish=())


@breaks("COMMIT-13")
class FinishesOneOnly(Commits):
    def changed(self, commit):
        return replace(commit, finish=commit.finish[:1])


@breaks("COMMIT-14", "COMMIT-8")
class DropsASecondInstancesMessage(Commits):
    def changed(self, commit):
        own = tuple(m for m in commit.send if m.instance == commit.instance)
        return replace(commit, send=own)


@breaks("COMMIT-14")
class SendsBeforeItRemoves(Store):
    def remove_messages(self, instance, ids):
        for message in self.__dict__.pop("sending", ()):
            self.put(message)
        super().remove_messages(instance, ids)

    def carry_out(self, row, commit):
        self.sending = commit.send
        return super().carry_out(row, replace(commit, send=()))


@breaks("COMMIT-14", "COMMIT-22")
class SendsNothingToItself(Commits):
    def changed(self, commit):
        return replace(commit, send=tuple(m for m in commit.send if m.instance != commit.instance))


@breaks("COMMIT-14")
class SendsEverythingNow(Commits):
    def changed(self, commit):
        return replace(commit, send=tuple(replace(m, visible_at=None) for m in commit.send))


@breaks("COMMIT-15")
class PutsCarriedMessagesBehind(Store):
    def put_front(self, messages):
        for message in messages:
            self.put(message)


@breaks("COMMIT-15")
class ReversesTheFront(Store):
    def put_front(self, messages):
        super().put_front(messages[::-1])


@breaks("COMMIT-15")
class PutsALaterFrontBehindAnEarlier(Store):
    def put_front(self, messages):
        super().put_front(messages)
        for message in messages:
            entry = self.tables.mailboxes[message.instance].get(message.id)
            if entry is not None:
                entry.front = (-entry.front[0], entry.front[1])


@breaks("COMMIT-15")
class LeavesHeldMessagesWhereTheyAre(Store):
    def put_front(self, messages):
        super().put_front(
            [m for m in messages if m.id not in self.tables.mailboxes.get(m.instance, {})]
        )


@breaks("COMMIT-15")
class PutsTheFrontAheadOfTheStart(Store):
    def order(self, entry):
        if entry.message.kind is MessageKind.START:
            return (1, 0, 0) if entry.front is None else (1, *entry.front)
        return super().order(entry)


@breaks("COMMIT-16", "COMMIT-25")
class CreatesChildrenWithoutAStart(Store):
    def create_child(self, child):
        if child.instance.instance in self.tables.instances:
            return super().create_child(child)
        super().create_child(child)
        self.remove_messages(child.instance.instance, ["start"])
        return True


@breaks("COMMIT-16", "COMMIT-17")
class CreatesTheFirstChildOnly(Commits):
    def changed(self, commit):
        return replace(commit, create=commit.create[:1])


@breaks("COMMIT-17", "COMMIT-8")
class RefusesTheCommitWhereAnIdIsInUse(Store):
    def require_activities(self, commit):
        super().require_activities(commit)
        for child in commit.create:
            row = self.tables.instances.get(child.instance.instance)
            if row is not None and row.state.incarnation != child.instance.incarnation:
                raise InstanceAlreadyExists(child.instance.instance)


@breaks("COMMIT-17")
class OverwritesChildren(Store):
    def create_child(self, child):
        self.tables.instances.pop(child.instance.instance, None)
        return super().create_child(child)


@breaks("COMMIT-17")
class HidesThatAnIdIsInUse(Store):
    def create_child(self, child):
        return super().create_child(replace(child, if_exists=None))


@breaks("COMMIT-17")
class AnswersThatNothingIsInUse(Store):
    def create_children(self, commit):
        super().create_children(commit)
        return frozenset()


@breaks("COMMIT-17")
class TellsThatAnIdIsInUseWhereItIsNot(Store):
    def create_child(self, child):
        if child.if_exists is not None and child.instance.instance in self.tables.instances:
            self.put(child.if_exists)
        return super().create_child(child)


@breaks("COMMIT-18", "ACT-9", "ACT-15", "COMMIT-19")
class KeepsTheActivitiesOfWhatEnded(Store):
    def is_wanted(self, row):
        return True


@breaks("COMMIT-18")
class KeepsTheLeaseOfAnEndedInstance(Store):
    def answer(self, row, commit, in_use):
        found = super().answer(row, commit, in_use)
        return (
            found
            if commit.keep_for is None
            else replace(found, lease_until=self.after(commit.keep_for))
        )


@breaks("COMMIT-18", "ADMIN-5")
class ForgetsOutputs(Commits):
    def changed(self, commit):
        return (
            commit if commit.end is None else replace(commit, end=replace(commit.end, output=None))
        )


@breaks("COMMIT-18", "READ-1")
class CallsEveryEndACompletion(Store):
    def end_execution(self, row, commit):
        super().end_execution(row, commit)
        if row.state.status is not InstanceStatus.RUNNING:
            row.state = replace(row.state, status=InstanceStatus.FAILED)


@breaks("COMMIT-19")
class LosesEventsWhenItContinues(Store):
    def continue_as_new(self, row, commit):
        super().continue_as_new(row, commit)
        self.tables.mailboxes.pop(commit.instance, None)


@breaks("COMMIT-19")
class KeepsAHundredEvents(Store):
    def continue_as_new(self, row, commit):
        super().continue_as_new(row, commit)
        self.remove_messages(
            commit.instance, [x.message.id for x in self.visible(commit.instance)][2:]
        )


@breaks("COMMIT-19", "HIST-4", "MODEL-1")
class GoesOnCounting(Store):
    def continue_as_new(self, row, commit):
        before = row.state.last_event
        super().continue_as_new(row, commit)
        row.state = replace(row.state, last_event=before)


@breaks("COMMIT-19")
class KeepsTheOutputOfTheOldExecution(Store):
    def continue_as_new(self, row, commit):
        super().continue_as_new(row, commit)
        row.state = replace(row.state, output=commit.end.output)


@breaks("COMMIT-20")
class IgnoresUnpin(Commits):
    def changed(self, commit):
        return replace(commit, unpin=False)


@breaks("COMMIT-20")
class UnpinsEveryNewExecution(Commits):
    def changed(self, commit):
        return replace(commit, unpin=True)


@breaks("COMMIT-20")
class IgnoresEngines(Commits):
    def changed(self, commit):
        return replace(commit, engine=None)


@breaks("COMMIT-20")
class IgnoresVersions(Commits):
    def changed(self, commit):
        return replace(commit, version=None)


@breaks("COMMIT-20")
class UnpinsWithEveryCommit(Fields):
    def set_fields(self, row, commit):
        super().set_fields(row, commit)
        row.state = replace(row.state, version=commit.version)


@breaks("COMMIT-21", "COMMIT-22")
class KeepsNoLease(Commits):
    def changed(self, commit):
        return replace(commit, keep_for=None)


@breaks("COMMIT-21")
class DoesNotExtendTheLease(Store):
    def settle_lease(self, row, commit):
        until = row.lease.until
        super().settle_lease(row, commit)
        if row.lease is not None:
            row.lease.until = until


@breaks("COMMIT-21", "LEASE-8")
class CountsOnWhenItKeeps(Store):
    def settle_lease(self, row, commit):
        super().settle_lease(row, commit)
        row.attempt += row.lease is not None


@breaks("COMMIT-22", "MAIL-13", "MAIL-14")
class AnswersWithoutMessages(Store):
    def answer(self, row, commit, in_use):
        return replace(super().answer(row, commit, in_use), messages=(), more=False)


@breaks("COMMIT-22")
class AnswersWithWhatIsHeld(Commits):
    def changed(self, commit):
        return replace(commit, held=frozenset())


@breaks("COMMIT-22")
class LeavesOutAsManyAsAreHeld(Store):
    def delivery(self, instance, held=()):
        messages, more = super().delivery(instance)
        return messages[len(held) :], more


@breaks("COMMIT-22")
class MissesWhatCameWhileItWasLeased(Store):
    def answer(self, row, commit, in_use):
        found = super().answer(row, commit, in_use)
        old = tuple(m for m in found.messages if m.id in {e.id for e in commit.send})
        return replace(found, messages=old)


@breaks("COMMIT-23", "LEASE-20")
class HidesWhatIsLeft(Store):
    def let_go(self, row):
        super().let_go(row)
        row.hidden_until = self.now + 1


@breaks("COMMIT-23")
class KeepsEveryLease(Store):
    def settle_lease(self, row, commit):
        super().settle_lease(row, replace(commit, keep_for=commit.keep_for or timedelta(seconds=5)))


@breaks("COMMIT-24", "LEASE-15", "ACT-12")
class KeepsTheMark(Fields):
    def changed(self, before, after):
        return replace(after, parked=before.parked)


@breaks("COMMIT-24")
class ClearsTheMarkOnlyWithARelease(Store):
    def set_fields(self, row, commit):
        parked = row.state.parked
        super().set_fields(row, commit)
        if commit.keep_for is not None:
            row.state = replace(row.state, parked=parked)


@breaks("COMMIT-25")
class CommitsInTwoSteps(ModelProvider):
    async def commit_turn(self, commit):
        store = self.at_present()
        row = store.require_lease(store.row_of(commit.instance, commit.incarnation), commit)
        store.require_history(row, commit)
        answer = store.commit_turn(replace(commit, send=(), create=(), add=()))
        await asyncio.sleep(0)
        store.create_children(commit)
        store.add_activities(commit)
        for message in commit.send:
            store.put(message)
        return answer


@breaks("COMMIT-26")
class FailsAGroupAsOne(ModelProvider):
    group = ()

    async def commit_turn(self, commit):
        mine = self.group = [*self.group, commit]
        await asyncio.sleep(0)
        group, self.group = self.group, []
        bad = [c for c in (group or mine) if c.expected_event > 5]
        if bad:
            raise HistoryConflict(commit.instance, expected=(1, 7), found=(1, 0))
        return await super().commit_turn(commit)


@breaks("COMMIT-27")
class LetsTwoCommitsWin(ModelProvider):
    async def commit_turn(self, commit):
        store = self.at_present()
        row = store.require_lease(store.row_of(commit.instance, commit.incarnation), commit)
        store.require_history(row, commit)
        await asyncio.sleep(0)
        return store.carry_out(row, commit)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
