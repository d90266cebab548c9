"""Providers that leave out some of what a commit says: ends of long lists, and what meets an end."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from perdure.contract import CommitAnswer, InstanceStatus, check_lease
from perdure.errors import ActivityLeaseLost, LeaseLost
from perdure_conformance.broken_providers import Broken, StoreBackend, breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store

SECOND = timedelta(seconds=1)


class Long(ModelProvider):
    """Finishes as many activities as others do."""

    finish_limit = 100


class TakesTheFirst(Long):
    """Carries out the first entries of one field only."""

    field, most = "", 100

    async def commit_turn(self, commit):
        return await super().commit_turn(
            replace(commit, **{self.field: tuple(getattr(commit, self.field))[: self.most]})
        )


FIELDS = {
    "remove": "COMMIT-9",
    "add": "COMMIT-10",
    "cancel": "COMMIT-12",
    "finish": "COMMIT-13",
    "send": "COMMIT-14",
    "front": "COMMIT-15",
    "create": "COMMIT-16",
}
MOST = dict.fromkeys(FIELDS, 99) | {"create": 25}


@pytest.mark.parametrize("most", [16, 25, 99])
@pytest.mark.parametrize("field", FIELDS)
def test_the_end_of_a_long_list_that_is_left_out_is_caught(field, most):
    (check,) = (check for check in CLAUSES if check.id == FIELDS[field])
    kind = type("TakesTheFirst", (TakesTheFirst,), {"field": field, "most": min(most, MOST[field])})
    broken = Broken(name="first", clauses=(check.id,), make=lambda: StoreBackend(provider=kind))

    assert what_catches(broken, check) is not None


class SixteenLeases(Store):
    def require_activities(self, commit):
        super().require_activities(replace(commit, finish=commit.finish[:16]))


@breaks("COMMIT-5")
class LooksAtSixteenLeases(StoreBackend):
    def __init__(self):
        super().__init__(SixteenLeases, Long)


@breaks("COMMIT-12")
class CancelsFirstDeliveries(Store):
    def remove_activities(self, instance, ids):
        rows = self.tables.activities
        first = [each for each in ids if (row := rows.get((instance, each))) and row.delivery < 2]
        super().remove_activities(instance, first)


class AtAnEnd(Store):
    """Leaves something out where the commit ends the execution."""

    def left_out(self, commit):
        return commit

    def carry_out(self, row, commit):
        return super().carry_out(row, commit if commit.end is None else self.left_out(commit))


@breaks("COMMIT-16")
class CreatesNothingAtAnEnd(AtAnEnd):
    def left_out(self, commit):
        return replace(commit, create=())


@breaks("COMMIT-14")
class SendsNothingAtAnEnd(AtAnEnd):
    def left_out(self, commit):
        return replace(commit, send=())


@breaks("COMMIT-16")
class CreatesNothingWhereItContinues(AtAnEnd):
    def left_out(self, commit):
        again = commit.end.status is InstanceStatus.CONTINUED_AS_NEW
        return replace(commit, create=() if again else commit.create)


@breaks("COMMIT-10")
class AddsBesideAnEnd(Store):
    def answer(self, row, commit, in_use):
        answer = super().answer(row, commit, in_use)
        until = commit.activity_lease_for and self.after(commit.activity_lease_for)
        return replace(answer, activities_until=until if commit.add else None)


@breaks("COMMIT-10")
class AddsToTheNextExecution(Store):
    def carry_out(self, row, commit):
        answer = super().carry_out(row, replace(commit, add=()))
        if row.state.status is InstanceStatus.RUNNING:
            self.add_activities(replace(commit, execution=row.state.execution))
        return answer


@breaks("COMMIT-14")
class SendsEachIdOnce(Store):
    def carry_out(self, row, commit):
        once = {message.id: message for message in reversed(commit.send)}
        return super().carry_out(row, replace(commit, send=tuple(reversed(once.values()))))


@breaks("COMMIT-14")
class KeepsTheLastOfOneId(Store):
    def carry_out(self, row, commit):
        last = {(message.instance, message.id): message for message in commit.send}
        return super().carry_out(row, replace(commit, send=tuple(last.values())))


@breaks("COMMIT-16")
class ForgetsTheEngineOfAChild(Store):
    def create_child(self, child):
        return super().create_child(replace(child, instance=replace(child.instance, engine=1)))


@breaks("COMMIT-18")
class HasAnOutputInPlaceOfNone(Store):
    def end_execution(self, row, commit):
        super().end_execution(row, commit)
        if row.state.status is not InstanceStatus.RUNNING and row.state.output is None:
            row.state = replace(row.state, output=b"")


@breaks("COMMIT-24")
class KeepsTheMarkOfAnEnd(Store):
    def set_fields(self, row, commit):
        parked = row.state.parked
        super().set_fields(row, commit)
        if commit.end is not None:
            row.state = replace(row.state, parked=parked)


@breaks("COMMIT-16")
class SendsBeforeItCreates(Store):
    def create_children(self, commit):
        for message in commit.send:
            self.put(message)
        return super().create_children(commit)


@breaks("COMMIT-15")
class KeepsTheHeldPayload(Store):
    def put_front(self, messages):
        boxes = self.tables.mailboxes
        held = [boxes.get(each.instance, {}).get(each.id) for each in messages]
        super().put_front(
            [entry.message if entry else m for entry, m in zip(held, messages, strict=True)]
        )


@breaks("COMMIT-15")
class KeepsTheFirstOfTheFront(Store):
    def put_front(self, messages):
        first = {message.id: message for message in reversed(messages)}
        super().put_front(list(reversed(first.values())))


@breaks("COMMIT-15")
class LeavesOutWhatTheMailboxHolds(Store):
    def put_front(self, messages):
        held = self.tables.mailboxes.get(messages[0].instance, {}) if messages else {}
        super().put_front([each for each in messages if each.id not in held])


@breaks("COMMIT-15")
class PutsVoidMessagesToTheFront(Store):
    def put_front(self, messages):
        super().put_front([replace(each, incarnation=None) for each in messages])


@breaks("COMMIT-17")
class TellsOnceOfEachId(Store):
    def create_children(self, commit):
        last = {child.instance.instance: child for child in commit.create if not self.has(child)}
        for child in last.values():
            self.put(child.if_exists) if child.if_exists else None
        quiet = tuple(replace(child, if_exists=None) for child in commit.create)
        return super().create_children(replace(commit, create=quiet))

    def has(self, child):
        row = self.tables.instances.get(child.instance.instance)
        return row is None or row.state.incarnation == child.instance.incarnation


@breaks("COMMIT-17")
class LetsTheLastTwinWin(Store):
    def create_children(self, commit):
        return super().create_children(replace(commit, create=tuple(reversed(commit.create))))


@breaks("COMMIT-17")
class DropsTwins(Store):
    def create_children(self, commit):
        first = {child.instance.instance: child for child in reversed(commit.create)}
        return super().create_children(replace(commit, create=tuple(reversed(first.values()))))


@breaks("COMMIT-20")
class NeverLowersTheEngine(Store):
    def set_fields(self, row, commit):
        engine = row.state.engine
        super().set_fields(row, commit)
        row.state = replace(row.state, engine=max(engine, row.state.engine))


@breaks("COMMIT-22")
class CountsHeldMessages(Store):
    def delivery(self, instance, held=()):
        messages, more = super().delivery(instance)
        return tuple(each for each in messages if each.id not in held), more


@breaks("COMMIT-22")
class CountsTheBytesOfHeldMessages(Store):
    def delivery(self, instance, held=()):
        messages, more = super().delivery(instance, held)
        entries = self.tables.mailboxes.get(instance, {}).values()
        size = sum(len(each.message.data) for each in entries if each.message.id in held)
        taken = [each for each in messages if (size := size + len(each.data)) <= 4 * 1024 * 1024]
        return tuple(taken or messages[:1]), more or 0 < len(taken) < len(messages)


# Repeats


@breaks("COMMIT-8")
class TellsAnyLeaseOfTheToken(Store):
    def repeated_answer(self, row, commit):
        return super().repeated_answer(row, replace(commit, keep_for=commit.keep_for or True))


@breaks("COMMIT-8")
class TellsTheFirstEnd(Store):
    def repeated_answer(self, row, commit):
        answer = super().repeated_answer(row, commit)
        return replace(answer, lease_until=answer.lease_until and row.answer.lease_until)


@breaks("COMMIT-8")
class TellsTheFirstMessages(Store):
    def repeated_answer(self, row, commit):
        return row.answer


@breaks("COMMIT-8")
class ForgetsWhatIsHeldAtARepeat(Store):
    def repeated_answer(self, row, commit):
        return super().repeated_answer(row, replace(commit, held=frozenset()))


@breaks("COMMIT-8")
class RepeatsForAnyIncarnation(Store):
    def row_of(self, instance, incarnation):
        return self.tables.instances.get(instance)

    def require_lease(self, row, commit):
        row = Store.row_of(self, commit.instance, commit.incarnation)
        return super().require_lease(row, commit)


@breaks("COMMIT-8")
class ComparesCommitIdsEverywhere(Store):
    def commit_turn(self, commit):
        ids = self.__dict__.setdefault("ids", {})
        if ids.setdefault(commit.id, commit.instance) != commit.instance:
            return CommitAnswer()
        return super().commit_turn(commit)


@breaks("COMMIT-8")
class RemembersAllCommits(Store):
    def commit_turn(self, commit):
        ids = self.__dict__.setdefault("ids", set())
        key = (commit.instance, commit.id)
        row = self.row_of(commit.instance, commit.incarnation)
        if key in ids and row is not None and not self.is_repeat(row, commit):
            return CommitAnswer()
        answer = super().commit_turn(commit)
        ids.add(key)
        return answer


# Refused commits


class DespiteRefusal(Store):
    """Does a part of a commit that is then refused."""

    def part(self, row, commit):
        raise NotImplementedError

    def commit_turn(self, commit):
        row = self.row_of(commit.instance, commit.incarnation)
        try:
            return super().commit_turn(commit)
        except (LeaseLost, ActivityLeaseLost):
            if row is not None:
                self.part(row, commit)
            raise


@breaks("COMMIT-7")
class EndsDespiteRefusal(DespiteRefusal):
    def part(self, row, commit):
        if commit.end is not None and commit.end.status is InstanceStatus.COMPLETED:
            row.state = replace(row.state, status=commit.end.status, output=commit.end.output)


@breaks("COMMIT-7")
class ContinuesDespiteRefusal(DespiteRefusal):
    def part(self, row, commit):
        if commit.end is not None and commit.end.status is InstanceStatus.CONTINUED_AS_NEW:
            self.end_execution(row, commit)


@breaks("COMMIT-7")
class PutsToTheFrontDespiteRefusal(DespiteRefusal):
    def part(self, row, commit):
        self.put_front([each for each in commit.front if each.execution == row.state.execution])


@breaks("COMMIT-7")
class PutsTheNextStartDespiteRefusal(DespiteRefusal):
    def part(self, row, commit):
        if commit.end is not None:
            starts = [each for each in commit.front if each.id.startswith("start")]
            self.put_front([replace(each, execution=None) for each in starts])


@breaks("COMMIT-7")
class VoidsActivitiesDespiteRefusal(DespiteRefusal):
    def part(self, row, commit):
        if commit.end is not None:
            rows = self.tables.activities
            self.remove_activities(
                commit.instance, [key[1] for key in rows if key[0] == commit.instance]
            )


# Cancelled commits


class InTwoSteps(ModelProvider):
    """Carries out a part of a commit, goes around the event loop, and carries out the rest."""

    def first(self, commit):
        return replace(commit, end=None, front=(), keep_for=commit.keep_for or SECOND)

    async def commit_turn(self, commit):
        await super().commit_turn(self.first(commit))
        await asyncio.sleep(0)
        row, store = self._store.tables.instances[commit.instance], self._store
        store.end_execution(row, replace(commit, expected_event=row.state.last_event))
        store.put_front(commit.front)
        store.drop_void(commit.instance)
        store.drop_void_activities(commit.instance)
        store.settle_lease(row, commit)
        return store.answer(row, commit, frozenset())


@breaks("COMMIT-25")
class EndsInASecondStep(InTwoSteps):
    def first(self, commit):
        if commit.end is None:
            return commit
        return super().first(commit)


@breaks("COMMIT-25")
class PutsToTheFrontInASecondStep(InTwoSteps):
    def first(self, commit):
        return replace(commit, front=())


# Contradictions


class LetsPass(ModelProvider):
    """Refuses no commit that contradicts itself, except for its lengths of leases."""

    async def commit_turn(self, commit):
        if commit.keep_for is not None:
            check_lease("keep_for", commit.keep_for)
        return self.at_present().commit_turn(commit)


@breaks("COMMIT-29")
class TakesContradictions(LetsPass):
    pass


@breaks("COMMIT-29")
class UnpinsWithoutAnEnd(ModelProvider):
    async def commit_turn(self, commit):
        if commit.unpin:
            return self.at_present().commit_turn(commit)
        return await super().commit_turn(commit)


@breaks("COMMIT-29")
class FinishesForOthers(ModelProvider):
    async def commit_turn(self, commit):
        if any(each.instance != commit.instance for each in commit.finish):
            own = tuple(each for each in commit.finish if each.instance == commit.instance)
            return self.at_present().commit_turn(replace(commit, finish=own))
        return await super().commit_turn(commit)


@breaks("COMMIT-29")
class TakesTheLastOfTwoActivities(ModelProvider):
    async def commit_turn(self, commit):
        once = tuple({new.id: new for new in commit.add}.values())
        return await super().commit_turn(replace(commit, add=once))


@breaks("COMMIT-29")
class PutsToAnotherFront(ModelProvider):
    async def commit_turn(self, commit):
        if any(each.instance != commit.instance for each in commit.front):
            return self.at_present().commit_turn(commit)
        return await super().commit_turn(commit)


@breaks("CALL-11")
class LeasesNothingForNoLimit(ModelProvider):
    async def lease_turns(self, request):
        return await super().lease_turns(request) if request.limit > 0 else ()


@breaks("CALL-11")
class LeasesNoActivityForNoLimit(ModelProvider):
    async def lease_activities(self, request):
        return await super().lease_activities(request) if request.limit > 0 else ()


@breaks("CALL-11")
class DeletesNothingForNoLimit(ModelProvider):
    async def delete_early_events(self, instance, *, arrived_before=None, limit):
        if limit < 1:
            return 0
        return await super().delete_early_events(
            instance, arrived_before=arrived_before, limit=limit
        )


@breaks("CALL-11")
class TakesNoTagsForAllTags(Store):
    def matches(self, row, request):
        tags = request.tags or {row.new.tag}
        return row.new.name in request.names and row.new.tag in tags


@breaks("CALL-11")
class TakesNoNamesForAllNames(Store):
    def serves(self, row, request):
        return not request.serves.orchestrations or super().serves(row, request)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
