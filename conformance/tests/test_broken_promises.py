"""Each row notices when its promise is broken, by the provider or by the runtime.

A saboteur spoils one thing. It is given the `monkeypatch` of its test to spoil core with, and may
return a kind of provider object to use instead of the reference. The rows that it names must fail.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import perdure.authoring.registry
import perdure.model.payload
import pytest
from perdure.codec.round_trip import Comparison
from perdure.contract import CommitAnswer, InstanceStatus, MessageKind
from perdure.errors import ActivityLeaseLost, InstanceAlreadyExists, LeaseLost, StorageFailed
from perdure.replay.commands import Commands
from perdure.replay.execution import Execution
from perdure.replay.inbox import EventInbox
from perdure.replay.signals import UndecodableData
from perdure.replay.transcript import Transcript
from perdure.runtime.activity_cancellation import ActivityCancellation
from perdure.runtime.activity_runner import ActivityRunner
from perdure.runtime.activity_store import ActivityStore
from perdure.runtime.shutdown import Shutdown
from perdure.runtime.turn_dispatcher import TurnDispatcher
from perdure_conformance.broken_providers import Broken, StoreBackend, what_catches
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.scenarios import SCENARIOS

IN_PROCESS = {row.id for row in SCENARIOS if row.needs is None}


@dataclass(frozen=True, kw_only=True)
class Saboteur:
    name: str
    rows: tuple[str, ...]
    spoil: Callable


def spoils(*numbers):
    def made(spoil):
        return Saboteur(
            name=spoil.__name__, rows=tuple(f"SCENARIO-{n}" for n in numbers), spoil=spoil
        )

    return made


def provider_with(**methods):
    return type("Spoiled", (ModelProvider,), methods)


# The provider


@spoils("52")
def refuses_what_comes_after_the_end_of_a_lease(patch):
    def stands(self, lease, token):
        return lease is not None and lease.token == token and self.is_live(lease)

    patch.setattr(Store, "stands", stands)


@spoils("1", "7", "11a")
def loses_events_to_ids_that_do_not_exist(patch):
    async def send(self, messages):
        known = [m for m in messages if await self.read_instance(m.instance) is not None]
        await ModelProvider.send(self, known)

    return provider_with(send=send)


@spoils("5", "5a", "42b")
def a_second_start_is_passed_over(patch):
    async def create_instance(self, new):
        try:
            await ModelProvider.create_instance(self, new)
        except InstanceAlreadyExists:
            return

    return provider_with(create_instance=create_instance)


@spoils("42", "42a")
def gives_every_message_an_id_of_its_own(patch):
    count = iter(range(10**6))

    async def send(self, messages):
        again = [replace(message, id=f"{message.id}-{next(count)}") for message in messages]
        await ModelProvider.send(self, again)

    return provider_with(send=send)


@spoils("19")
def leases_last_minutes_longer(patch):
    def prolonged(request):
        return replace(request, lease_for=request.lease_for + timedelta(minutes=2))

    async def lease_turns(self, request):
        return await ModelProvider.lease_turns(self, prolonged(request))

    async def lease_activities(self, request):
        return await ModelProvider.lease_activities(self, prolonged(request))

    return provider_with(lease_turns=lease_turns, lease_activities=lease_activities)


@spoils("20")
def results_without_a_lease_are_accepted(patch):
    async def complete_activity(self, completion):
        try:
            await ModelProvider.complete_activity(self, completion)
        except ActivityLeaseLost:
            await self.send([completion.message])

    return provider_with(complete_activity=complete_activity)


@spoils("20a")
def finished_activities_are_no_precondition(patch):
    async def commit_turn(self, commit):
        try:
            return await ModelProvider.commit_turn(self, commit)
        except ActivityLeaseLost:
            return await ModelProvider.commit_turn(self, replace(commit, finish=()))

    return provider_with(commit_turn=commit_turn)


@spoils("18")
def a_refused_commit_is_not_told(patch):
    async def commit_turn(self, commit):
        try:
            return await ModelProvider.commit_turn(self, commit)
        except LeaseLost:
            return CommitAnswer()

    return provider_with(commit_turn=commit_turn)


@spoils("42c")
def a_repeated_commit_is_not_recognised(patch):
    async def commit_turn(self, commit):
        row = await self.read_instance(commit.instance)
        if row is not None and row.last_commit == commit.id and not row.output:
            commit = replace(commit, id=commit.id + "again", expected_event=row.last_event)
        return await ModelProvider.commit_turn(self, commit)

    return provider_with(commit_turn=commit_turn)


@spoils("40", "40b")
def gives_nothing_back(patch):
    async def release(self, release):
        return

    return provider_with(release_turn=release, release_activity=release)


@spoils("28", "28a", "28b", "28c", "16")
def never_tells_of_unregistered_work(patch):
    async def lease_turns(self, request):
        served = replace(request, unregistered_for=None)
        return await ModelProvider.lease_turns(self, served)

    async def lease_activities(self, request):
        served = replace(request, unregistered_for=None)
        return await ModelProvider.lease_activities(self, served)

    return provider_with(lease_turns=lease_turns, lease_activities=lease_activities)


@spoils("15")
def a_child_takes_an_id_in_use(patch):
    async def commit_turn(self, commit):
        children = [replace(child, if_exists=None) for child in commit.create]
        return await ModelProvider.commit_turn(self, replace(commit, create=tuple(children)))

    return provider_with(commit_turn=commit_turn)


@spoils("12")
def forgets_what_a_continuation_creates(patch):
    async def commit_turn(self, commit):
        ends = commit.end is not None and commit.end.status is InstanceStatus.CONTINUED_AS_NEW
        kept = replace(commit, create=()) if ends else commit
        return await ModelProvider.commit_turn(self, kept)

    return provider_with(commit_turn=commit_turn)


@spoils("22", "34b", "37b")
def loses_timers(patch):
    async def commit_turn(self, commit):
        kept = tuple(m for m in commit.send if m.kind is not MessageKind.TIMER)
        return await ModelProvider.commit_turn(self, replace(commit, send=kept))

    return provider_with(commit_turn=commit_turn)


@spoils("26", "3", "11")
def delivers_events_backwards(patch):
    async def lease_turns(self, request):
        def backwards(turn):
            start = [m for m in turn.messages if m.kind is MessageKind.START]
            others = [m for m in turn.messages if m.kind is not MessageKind.START]
            return replace(turn, messages=(*start, *reversed(others)))

        return [backwards(turn) for turn in await ModelProvider.lease_turns(self, request)]

    return provider_with(lease_turns=lease_turns)


@spoils("14", "9a", "16")
def loses_what_children_tell(patch):
    async def commit_turn(self, commit):
        kept = tuple(m for m in commit.send if m.kind is not MessageKind.CHILD)
        return await ModelProvider.commit_turn(self, replace(commit, send=kept))

    return provider_with(commit_turn=commit_turn)


@spoils("39")
def ids_do_not_depend_on_case(patch):
    async def create_instance(self, new):
        if new.instance != new.instance.lower():
            raise InstanceAlreadyExists(new.instance)
        await ModelProvider.create_instance(self, new)

    return provider_with(create_instance=create_instance)


@spoils("38")
def stores_less_than_a_megabyte(patch):
    async def create_instance(self, new):
        if len(new.start.data) > 900_000:
            raise InstanceAlreadyExists(new.instance)
        await ModelProvider.create_instance(self, new)

    return provider_with(create_instance=create_instance)


@spoils("13")
def a_continuation_empties_the_mailbox(patch):
    arrived = []

    async def send(self, messages):
        for message in messages:
            if message.data.count(b'"4"') and message.kind is MessageKind.EVENT:
                arrived.append(message)
            else:
                await ModelProvider.send(self, [message])

    return provider_with(send=send)


# The runtime and the engine


@spoils("52a")
def gives_no_account_of_leases_that_were_taken_over(patch):
    async def account_for(self, lease):
        pass

    patch.setattr(ActivityStore, "account_for", account_for)


@spoils("2")
def an_event_before_its_wait_is_lost(patch):
    patch.setattr(EventInbox, "add_wait", losing_kept(EventInbox.add_wait))


def losing_kept(add_wait):
    def spoiled(self, number, wait):
        self._kept.clear()
        return add_wait(self, number, wait)

    return spoiled


@spoils("4")
def an_instance_that_ended_goes_on(patch):
    async def send(self, messages):
        for message in messages:
            row = await self.read_instance(message.instance)
            if row is not None and row.status is InstanceStatus.COMPLETED:
                found = self._store.tables.instances[message.instance]
                found.state = replace(row, updated_at=row.updated_at + 1)
        await ModelProvider.send(self, messages)

    return provider_with(send=send)


@spoils("8")
def a_cancel_waits_for_its_turn(patch):
    patch.setattr("perdure.runtime.delivery._cancel_first", list)


@spoils("6")
def every_request_to_cancel_is_recorded(patch):
    def accept_cancel(self, reason, now):
        self._commands.cancel_reason = None
        return accept(self, reason, now)

    accept = Execution.accept_cancel
    patch.setattr(Execution, "accept_cancel", accept_cancel)
    patch.setattr("perdure.client.calls.CANCEL_ID", "cancel")


@spoils("9")
def children_are_left_behind(patch):
    def drop_work(self):
        self.draft.activities.clear()
        self.draft.timers.clear()
        self.draft.children.clear()

    patch.setattr(Commands, "_drop_work", drop_work)
    patch.setattr(Commands, "_take_back", lambda self, number, work: None)


@spoils("9")
def running_activities_are_not_told(patch):
    patch.setattr(ActivityCancellation, "cancel_activity", lambda self, held: None)


@spoils("9c")
def the_outcome_of_cancelled_work_is_dropped(patch):
    patch.setattr(Commands, "request_end", lambda self, scheduled: False)


@spoils("9c")
def work_is_not_asked_to_end(patch):
    patch.setattr(ActivityCancellation, "request_end", lambda self, instance, activities: None)


@spoils("10", "10a")
def a_cancelled_orchestration_ends_at_once(patch):
    def deliver_cancel(self, event):
        self._commands.cancel_reason = event.reason
        self._commands.end_cancelled()

    patch.setattr(Execution, "_deliver_cancel", deliver_cancel)


@spoils("10a")
def a_cleanup_may_last_for_ever(patch):
    deliver = Execution._deliver_cancel

    def deliver_cancel(self, event):
        self._cleanup_timeout = timedelta(days=1)
        deliver(self, event)

    patch.setattr(Execution, "_deliver_cancel", deliver_cancel)


@spoils("11")
def unread_events_stay_behind(patch):
    patch.setattr(EventInbox, "unread", lambda self: ())


@spoils("42a")
def the_next_execution_knows_no_events(patch):
    patch.setattr(EventInbox, "delivered", lambda self: ())


@spoils("23", "25", "9b")
def what_is_cancelled_is_still_wanted(patch):
    patch.setattr(Commands, "work_cancelled", lambda self, scheduled: None)


@spoils("25")
def what_was_taken_back_is_done_all_the_same(patch):
    patch.setattr(Commands, "_take_back", lambda self, number, work: None)


@spoils("21", "21a", "21d")
def every_instance_is_blamed(patch):
    start = TurnDispatcher._start

    def suspicious(self, leased):
        start(self, replace(leased, attempt=leased.attempt * 10 if leased.attempt > 1 else 1))

    patch.setattr(TurnDispatcher, "_start", suspicious)
    run = ActivityRunner.start

    def suspect(self, held, **named):
        held.delivery = held.delivery * 10 if held.delivery > 1 else 1
        run(self, held, **named)

    patch.setattr(ActivityRunner, "start", suspect)


@spoils("21b")
def what_cannot_be_decoded_is_dropped(patch):
    accept = Execution.accept

    def forgiving(self, message, now):
        try:
            return accept(self, message, now)
        except UndecodableData:
            return False

    patch.setattr(Execution, "accept", forgiving)


@spoils("27")
def a_mark_names_no_source_line(patch):
    patch.setattr(Transcript, "_where", lambda self: "")


@spoils("41")
def another_python_is_not_named(patch):
    patch.setattr("perdure.replay.transcript.PYTHON", "3.7")


@spoils("34a")
def leases_beyond_all_leases_are_live(patch):
    patch.setattr("perdure_conformance.model.mailboxes.FARTHEST", 10**12)


@spoils("27a")
def every_rebuilt_execution_reports_again(patch):
    from perdure.runtime.value_differences import ValueDifferences

    patch.setattr(ValueDifferences, "_is_new", lambda *_: True)


@spoils("27b")
def values_are_never_compared(patch):
    patch.setattr("perdure.replay.transcript.differences", lambda *_: [])


@spoils("27c", "28d", "21f")
def nothing_that_is_parked_can_be_ended(patch):
    for place in ("delivery", "leased_instance", "turn_dispatcher"):
        patch.setattr(f"perdure.runtime.{place}.parked_and_cancelled", lambda *_: None)


@spoils("45")
def an_event_that_does_not_fit_is_raised(patch):
    hand_over = Commands._hand_over

    def raising(self, event, wait):
        return hand_over(self, event, replace(wait, raises=True))

    patch.setattr(Commands, "_hand_over", raising)


@spoils("45a")
def no_wait_gets_the_error(patch):
    hand_over = Commands._hand_over

    def waiting(self, event, wait):
        return hand_over(self, event, replace(wait, raises=False))

    patch.setattr(Commands, "_hand_over", waiting)


@spoils("35")
def waiting_asks_without_a_pause(patch):
    tiny = timedelta(milliseconds=20)
    patch.setattr("perdure.client.outcome._SHORTEST_POLL", tiny)
    patch.setattr("perdure.client.outcome._LONGEST_POLL", tiny)
    patch.setattr("perdure.client.outcome._LONGEST_WAIT", tiny)


@spoils("36", "24")
def results_are_lost_in_a_rebuilt_execution(patch):
    rebuilding = Execution.rebuilding.__func__

    def forgetful(cls, *arguments, **options):
        execution = yield from rebuilding(cls, *arguments, **options)
        execution._commands.work.clear()
        execution._commands.inbox._waits.clear()
        execution._commands.inbox._names.clear()
        return execution

    patch.setattr(Execution, "rebuilding", classmethod(forgetful))


@spoils("37", "37a")
def failures_tell_nothing(patch):
    from perdure.model.details import Raised

    silent = Raised(type_name="Exception", message="something failed")
    for place in ("perdure.replay.execution", "perdure.runtime.activity_runner"):
        patch.setattr(f"{place}.describe", lambda *_, **__: silent, raising=False)
    for place in ("perdure.runtime.activity_call", "perdure.diagnostics.failures"):
        patch.setattr(f"{place}.describe", lambda *_, **__: silent, raising=False)


@spoils("43")
def only_ordinary_exceptions_are_outcomes(patch):
    from perdure.diagnostics.failures import describe

    def choosy(error, **options):
        if not isinstance(error, Exception):
            raise TypeError("what is this?")
        return describe(error, **options)

    patch.setattr("perdure.runtime.activity_call.describe", choosy)


@spoils("43a")
def failures_have_no_causes(patch):
    patch.setattr("perdure.diagnostics.failures._origin", lambda error: [])
    patch.setattr("perdure.diagnostics.failures._from_elsewhere", lambda error: None)


@spoils("43b")
def policies_do_not_listen(patch):
    from perdure.authoring.retry import RetryPolicy

    def wait(self, failure, attempt, random):
        return self.backoff.delay(attempt, random)

    patch.setattr(RetryPolicy, "wait", wait)


@spoils("38a")
def nothing_is_too_large(patch):
    patch.setattr(perdure.model.payload, "LARGEST_PAYLOAD", 2**40)


@spoils("39b")
def every_id_is_welcome(patch):
    for place in ("client.calls", "client.starting", "client.outcome", "replay.context"):
        patch.setattr(f"perdure.{place}.check_identifier", lambda value, what: value, raising=False)


@spoils("39a")
def names_do_not_depend_on_case(patch):
    find = perdure.authoring.registry.Catalog.orchestration

    def lower(self, name, version):
        return find(self, name.lower(), version) or find(self, name, version)

    patch.setattr(perdure.authoring.registry.Catalog, "orchestration", lower)


@spoils("40a")
def closing_waits_for_nothing(patch):
    run = Shutdown.run

    async def impatient(self, leasing, caring):
        self._grace = timedelta(0)
        await run(self, leasing, caring)

    patch.setattr(Shutdown, "run", impatient)


@spoils("17")
def messages_of_an_old_execution_are_delivered(patch):
    async def send(self, messages):
        def current(message):
            row = self._store.tables.instances.get(message.instance)
            if row is None or message.kind is MessageKind.EVENT:
                return message
            return replace(message, incarnation=row.state.incarnation, execution=None)

        await ModelProvider.send(self, [current(message) for message in messages])

    return provider_with(send=send)


@spoils("34")
def a_runtime_trusts_its_own_clock(patch):
    async def commit_turn(self, commit):
        early = tuple(
            replace(m, visible_at=m.visible_at - 6_000_000) if m.visible_at else m
            for m in commit.send
        )
        return await ModelProvider.commit_turn(self, replace(commit, send=early))

    return provider_with(commit_turn=commit_turn)


@spoils("21e")
def damage_looks_like_an_outage(patch):
    async def read_history(self, *place, **named):
        page = await ModelProvider.read_history(self, *place, **named)
        if any(b"\x00" in each.data for each in page.events):
            raise StorageFailed("the disk is full; free some", operation="read_history")
        return page

    return provider_with(read_history=read_history)


# The codec


@spoils("44")
def what_comes_back_is_not_compared(patch):
    patch.setattr(Comparison, "same", lambda *_: None)


SABOTEURS = [value for value in list(globals().values()) if isinstance(value, Saboteur)]
CASES = [
    pytest.param(saboteur, row, id=f"{saboteur.name}-{row}")
    for saboteur in SABOTEURS
    for row in saboteur.rows
]


@pytest.mark.slow
@pytest.mark.parametrize(("saboteur", "id"), CASES)
def test_a_broken_promise_is_noticed(saboteur, id, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)
    (row,) = (row for row in SCENARIOS if row.id == id)
    monkeypatch.setattr("perdure_conformance.scenarios.simulation.LIMIT", timedelta(minutes=3))
    provider = saboteur.spoil(monkeypatch) or ModelProvider

    broken = Broken(name=saboteur.name, clauses=(id,), make=lambda: StoreBackend(provider=provider))

    assert what_catches(broken, row) is not None


def test_every_row_that_needs_no_process_has_a_saboteur():
    assert IN_PROCESS - {row for saboteur in SABOTEURS for row in saboteur.rows} == set()
