"""Providers whose commits accept what they must refuse, or are not atomic."""

import asyncio
from dataclasses import replace

from perdure.contract import CommitAnswer
from perdure.errors import (
    ActivityLeaseLost,
    HistoryConflict,
    LeaseLost,
)
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store


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
