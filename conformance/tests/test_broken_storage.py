"""A storage that is damaged or fails: providers that pass it on, hide it, or let it hurt other instances."""

from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
from perdure.contract import CommitAnswer, HistoryPage
from perdure.errors import LeaseLost, StorageCorrupt, StorageFailed, StorageUnavailable
from perdure_conformance.broken_providers import StoreBackend, what_catches
from perdure_conformance.careful_store import (
    DENIED,
    Careful,
    CarefulProvider,
    DamagedBackend,
    breaks_storage,
)
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.runner import Outcome, judge
from perdure_conformance.tampering import (
    missing,
)


@breaks_storage("HIST-6")
class GivesWhatIsLeft(Careful):
    def read_history(self, instance, execution, incarnation, after):
        return Store.read_history(self, instance, execution, incarnation, after)


@breaks_storage("HIST-6")
class NoticesGapsButNoLostEnd(Careful):
    def read_history(self, instance, execution, incarnation, after):
        page = Store.read_history(self, instance, execution, incarnation, after)
        if [each.number for each in page.events] != list(
            range(after + 1, after + 1 + len(page.events))
        ):
            raise StorageCorrupt(f"{instance!r} has a gap", operation="read_history")
        return page


@breaks_storage("HIST-6")
class NamesNoInstance(Careful):
    def read_history(self, instance, execution, incarnation, after):
        try:
            return super().read_history(instance, execution, incarnation, after)
        except StorageCorrupt:
            raise StorageCorrupt("something is damaged", operation="read_history") from None


@breaks_storage("HIST-6", "CALL-9")
class CallsDamageAFailure(Careful):
    def read_history(self, *arguments):
        try:
            return super().read_history(*arguments)
        except StorageCorrupt as error:
            raise StorageFailed(str(error), operation="read_history") from None

    def read_instance(self, instance):
        try:
            return super().read_instance(instance)
        except StorageCorrupt as error:
            raise StorageFailed(str(error), operation="read_instance") from None


@breaks_storage("HIST-6")
class IsCorruptAsAWhole(Careful):
    damaged = False

    def read_history(self, *arguments):
        self.damaged = self.damaged or any(
            len(row.events) != row.state.event_count
            for rows in self.tables.executions.values()
            for row in rows
        )
        if self.damaged:
            raise StorageCorrupt(f"{arguments[0]!r} cannot be read", operation="read_history")
        return super().read_history(*arguments)


@breaks_storage("HIST-7")
class LeavesOutWhatItCannotRead(Careful):
    def read_history(self, *arguments):
        page = super().read_history(*arguments)
        return replace(page, events=tuple(e for e in page.events if e.data.isalnum()))


@breaks_storage("HIST-7")
class EndsAtWhatItCannotRead(Careful):
    def read_history(self, *arguments):
        page = super().read_history(*arguments)
        numbers = [place for place, e in enumerate(page.events) if not e.data.isalnum()]
        return HistoryPage(events=page.events[: numbers[0]], more=False) if numbers else page


@breaks_storage("CALL-9")
class GivesSpoiledFields(Careful):
    def read_instance(self, instance):
        return Store.read_instance(self, instance)


@breaks_storage("CALL-9")
class ForgetsTheSpoiled(Careful):
    def read_instance(self, instance):
        return None if instance in self.spoiled else super().read_instance(instance)


@breaks_storage("CALL-9")
class LeasesTheSpoiled(Careful):
    def is_ready(self, row):
        return Store.is_ready(self, row)


@breaks_storage("CALL-9")
class StopsAtTheSpoiled(Careful):
    def lease_turns(self, request):
        if self.spoiled:
            raise StorageCorrupt("'spoiled' is spoiled", operation="lease_turns")
        return super().lease_turns(request)


@breaks_storage("CALL-9")
class IsHeldUpByTheSpoiled(Careful):
    def is_ready(self, row):
        return Store.is_ready(self, row)

    def lease_turns(self, request):
        leased = super().lease_turns(request)
        for turn in leased:
            if turn.state.instance in self.spoiled:
                self.tables.instances[turn.state.instance].lease = None
                self.tables.instances[turn.state.instance].released_at = 0
        return tuple(turn for turn in leased if turn.state.instance not in self.spoiled)


@breaks_storage("CALL-9")
class IsHeldUpByTheWorkOfTheSpoiled(Careful):
    """Gives the slot of a look to an activity that it cannot give out, again and again."""

    def lease_activities(self, request):
        leased = super().lease_activities(request)
        for each in leased:
            if each.instance in self.spoiled:
                row = self.tables.activities[each.instance, each.id]
                row.lease, row.due = None, 0
        return tuple(each for each in leased if each.instance not in self.spoiled)


@breaks_storage("CALL-10")
class LeavesTheTurnsOfALookThatFailed(Careful):
    def lease_turns(self, request):
        return Store.lease_turns(self, request)


@breaks_storage("CALL-10")
class LeavesTheActivitiesOfALookThatFailed(Careful):
    def lease_activities(self, request):
        return Store.lease_activities(self, request)


@breaks_storage("CALL-10")
class CountsWhatItTakesBack(Careful):
    def end_failed_look(self, before):
        counted = {name: row.attempt for name, row in self.tables.instances.items()}
        super().end_failed_look(before)
        for name, attempt in counted.items():
            self.tables.instances[name].attempt = attempt


@breaks_storage("CALL-10")
class CountsActivitiesThatItTakesBack(Careful):
    def end_failed_look(self, before):
        counted = {key: row.delivery for key, row in self.tables.activities.items()}
        super().end_failed_look(before)
        for key, delivery in counted.items():
            self.tables.activities[key].delivery = delivery


@breaks_storage("CALL-10")
class LosesWhatALookThatFailedLeased(Careful):
    def end_failed_look(self, before):
        leased = [name for name, row in self.tables.instances.items() if row.lease]
        super().end_failed_look(before)
        for name in leased:
            self.tables.mailboxes[name].clear()


@breaks_storage("COMMIT-28")
class LeavesHalfACommit(Careful):
    def take_back_commit(self, before, commit):
        raise StorageUnavailable("the disk is busy", operation="commit_turn")


@breaks_storage("COMMIT-28")
class TakesBackAllButMessages(Careful):
    def take_back_commit(self, before, commit):
        before.mailboxes = self.tables.mailboxes
        return super().take_back_commit(before, commit)


@breaks_storage("COMMIT-28")
class TakesBackAllButActivities(Careful):
    def take_back_commit(self, before, commit):
        before.activities = self.tables.activities
        return super().take_back_commit(before, commit)


@breaks_storage("COMMIT-28")
class RemembersACommitThatFailed(Careful):
    def take_back_commit(self, before, commit):
        row = before.instances[commit.instance]
        row.state = replace(row.state, last_commit=commit.id)
        return super().take_back_commit(before, commit)


@breaks_storage("COMMIT-28")
class LosesTheLeaseOfACommitThatFailed(Careful):
    def take_back_commit(self, before, commit):
        before.instances[commit.instance].lease = None
        return super().take_back_commit(before, commit)


@breaks_storage("COMMIT-28")
class AcknowledgesACommitThatFailed(Careful):
    def take_back_commit(self, before, commit):
        self.tables = before
        return CommitAnswer()


@breaks_storage("COMMIT-28")
class RefusesACommitThatFails(Careful):
    def take_back_commit(self, before, commit):
        self.tables = before
        raise LeaseLost(commit.instance, operation="commit_turn")


@breaks_storage("CALL-13")
class LeaksWhatTheDriverRaises(CarefulProvider):
    def at_present(self):
        self.connection.use()
        return ModelProvider.at_present(self)


@breaks_storage("CALL-13")
class TranslatesOnlyWhatItKnows(CarefulProvider):
    def translated(self, error):
        return super().translated(error) if isinstance(error, ConnectionError) else error


@breaks_storage("CALL-13")
class LeaksInOneCall(CarefulProvider):
    async def renew_activities(self, leases, *, lease_for):
        self.connection.use()
        return await super().renew_activities(leases, lease_for=lease_for)


@breaks_storage("CALL-13")
class LeaksWhereItOnlyReads(CarefulProvider):
    async def read_instance(self, instance):
        self.connection.use()
        return await super().read_instance(instance)


@breaks_storage("CALL-13")
class GivesUpForACutConnection(CarefulProvider):
    def translated(self, error):
        return StorageFailed(f"the store is away: {error}", operation="any")


@breaks_storage("CALL-13")
class IsSureThatTheLeaseIsGone(CarefulProvider):
    def translated(self, error):
        return LeaseLost("any", operation="any")


@breaks_storage("CALL-13")
class KeepsTheConnectionThatWasCut(CarefulProvider):
    is_cut = False

    def at_present(self):
        if self.is_cut:
            raise StorageUnavailable("the connection is cut", operation="any")
        return super().at_present()

    def translated(self, error):
        self.is_cut = True
        return super().translated(error)


@breaks_storage("CALL-13")
class AcknowledgesWhatItCannotStore(CarefulProvider):
    async def complete_activity(self, completion):
        with suppress(StorageUnavailable):
            await super().complete_activity(completion)

    async def send(self, messages):
        with suppress(StorageUnavailable):
            await super().send(messages)


@breaks_storage("CALL-13")
class CarriesOutTwiceWhatItRepeats(CarefulProvider):
    def translated(self, error):
        self.lost = True
        return super().translated(error)

    async def commit_turn(self, commit):
        answer = await super().commit_turn(commit)
        if getattr(self, "lost", False):
            row = self.at_present().tables.executions[commit.instance][-1]
            row.events.append(row.events[-1])
        return answer


class FailsNowhere(DamagedBackend):
    @contextmanager
    def fail_at(self, provider, step):
        yield SimpleNamespace(reached=False)

    @contextmanager
    def break_storage(self, provider, outage, *, step):
        yield SimpleNamespace(reached=False)


@pytest.mark.parametrize(
    ("id", "what"), [("COMMIT-28", "a commit"), ("CALL-10", "a look for turns")]
)
def test_a_backend_that_makes_nothing_fail_is_noticed(id, what):
    (check,) = (check for check in CLAUSES if check.id == id)

    assert judge(check, FailsNowhere()).message == f"the backend makes no step of {what} fail"


def test_a_backend_whose_outages_cut_nothing_is_noticed():
    (check,) = (check for check in CLAUSES if check.id == "CALL-13")

    message = judge(check, FailsNowhere()).message

    assert message == "the connection is cut: the backend makes no create_instance fail"


def test_a_backend_none_of_whose_outages_passes_is_told_what_is_missing():
    class OnlyDenies(DamagedBackend):
        outages = (DENIED,)

    (check,) = (check for check in CLAUSES if check.id == "CALL-13")

    message = judge(check, OnlyDenies()).message

    assert message == "the backend has no outage that passes; connections can be cut"


def test_a_leak_is_told_with_the_outage_the_call_and_what_to_raise():
    (check,) = (check for check in CLAUSES if check.id == "CALL-13")

    message = what_catches(LeaksWhatTheDriverRaises, check)

    assert message == (
        "the connection is cut, and create_instance raised ConnectionResetError('connection reset by"
        " peer'); raise StorageUnavailable for what may succeed later, StorageFailed or"
        " StorageCorrupt for what will not, with the driver's exception as the cause"
    )


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None


@pytest.mark.parametrize("id", ["CALL-9", "CALL-10", "CALL-13", "HIST-6", "HIST-7", "COMMIT-28"])
def test_a_careful_provider_passes(id):
    (check,) = (check for check in CLAUSES if check.id == id)

    assert judge(check, DamagedBackend()).message == ""


@pytest.mark.parametrize("id", ["CALL-9", "CALL-10", "CALL-13", "HIST-6", "COMMIT-28"])
def test_a_check_without_its_tampering_is_unsupported(id):
    (check,) = (check for check in CLAUSES if check.id == id)

    result = judge(check, StoreBackend())

    assert result.outcome is Outcome.UNSUPPORTED
    assert result.message == f"the backend of model offers no tampering {check.tampering!r}"


@pytest.mark.parametrize("id", ["CALL-9", "CALL-10", "CALL-13", "HIST-6", "HIST-7", "COMMIT-28"])
def test_tampering_that_is_declared_and_missing_fails_its_check(id):
    class Empty:
        declaration = DamagedBackend().declaration
        url = None

        def open(self, *, clock, namespace):
            return DamagedBackend().open(clock=clock, namespace=namespace)

    (check,) = (check for check in CLAUSES if check.id == id)
    result = judge(check, Empty())

    assert result.outcome is Outcome.FAILED
    assert result.message == str(missing(check.tampering))
