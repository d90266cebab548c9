"""Runtimes that break what users are promised: the scenarios that they break must fail."""

from dataclasses import replace
from datetime import timedelta

import perdure.authoring.catalog
import perdure.model.payload
import pytest
from perdure.contract import InstanceStatus, MessageKind
from perdure.encoding.round_trip import Comparison
from perdure.errors import StorageFailed
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
from perdure_conformance.broken_providers import breaks_promises
from perdure_conformance.model import ModelProvider


def provider_with(**methods):
    return type("Spoiled", (ModelProvider,), methods)


@breaks_promises("52a")
def gives_no_account_of_leases_that_were_taken_over(patch):
    async def account_for(self, lease):
        pass

    patch.setattr(ActivityStore, "account_for", account_for)


@breaks_promises("2")
def an_event_before_its_wait_is_lost(patch):
    patch.setattr(EventInbox, "add_wait", losing_kept(EventInbox.add_wait))


def losing_kept(add_wait):
    def spoiled(self, number, wait):
        self._kept.clear()
        return add_wait(self, number, wait)

    return spoiled


@breaks_promises("4")
def an_instance_that_ended_goes_on(patch):
    async def send(self, messages):
        for message in messages:
            row = await self.read_instance(message.instance)
            if row is not None and row.status is InstanceStatus.COMPLETED:
                found = self._store.tables.instances[message.instance]
                found.state = replace(row, updated_at=row.updated_at + 1)
        await ModelProvider.send(self, messages)

    return provider_with(send=send)


@breaks_promises("8")
def a_cancel_waits_for_its_turn(patch):
    patch.setattr("perdure.runtime.delivery._cancel_first", list)


@breaks_promises("6")
def every_request_to_cancel_is_recorded(patch):
    def accept_cancel(self, reason, now):
        self._commands.cancel_reason = None
        return accept(self, reason, now)

    accept = Execution.accept_cancel
    patch.setattr(Execution, "accept_cancel", accept_cancel)
    patch.setattr("perdure.client.calls.CANCEL_ID", "cancel")


@breaks_promises("9")
def children_are_left_behind(patch):
    def drop_work(self):
        self.draft.activities.clear()
        self.draft.timers.clear()
        self.draft.children.clear()

    patch.setattr(Commands, "_drop_work", drop_work)
    patch.setattr(Commands, "_take_back", lambda self, number, work: None)


@breaks_promises("9")
def running_activities_are_not_told(patch):
    patch.setattr(ActivityCancellation, "cancel_activity", lambda self, held: None)


@breaks_promises("9c")
def the_outcome_of_cancelled_work_is_dropped(patch):
    patch.setattr(Commands, "request_end", lambda self, scheduled: False)


@breaks_promises("9c")
def work_is_not_asked_to_end(patch):
    patch.setattr(ActivityCancellation, "request_end", lambda self, instance, activities: None)


@breaks_promises("10", "10a")
def a_cancelled_orchestration_ends_at_once(patch):
    def deliver_cancel(self, event):
        self._commands.cancel_reason = event.reason
        self._commands.end_cancelled()

    patch.setattr(Execution, "_deliver_cancel", deliver_cancel)


@breaks_promises("10a")
def a_cleanup_may_last_for_ever(patch):
    deliver = Execution._deliver_cancel

    def deliver_cancel(self, event):
        self._cleanup_timeout = timedelta(days=1)
        deliver(self, event)

    patch.setattr(Execution, "_deliver_cancel", deliver_cancel)


@breaks_promises("11")
def unread_events_stay_behind(patch):
    patch.setattr(EventInbox, "unread", lambda self: ())


@breaks_promises("42a")
def the_next_execution_knows_no_events(patch):
    patch.setattr(EventInbox, "delivered", lambda self: ())


@breaks_promises("23", "25", "9b")
def what_is_cancelled_is_still_wanted(patch):
    patch.setattr(Commands, "work_cancelled", lambda self, scheduled: None)


@breaks_promises("25")
def what_was_taken_back_is_done_all_the_same(patch):
    patch.setattr(Commands, "_take_back", lambda self, number, work: None)


@breaks_promises("21", "21a", "21d")
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


@breaks_promises("21b")
def what_cannot_be_decoded_is_dropped(patch):
    accept = Execution.accept

    def forgiving(self, message, now):
        try:
            return accept(self, message, now)
        except UndecodableData:
            return False

    patch.setattr(Execution, "accept", forgiving)


@breaks_promises("27")
def a_mark_names_no_source_line(patch):
    patch.setattr(Transcript, "_where", lambda self: "")


@breaks_promises("41")
def another_python_is_not_named(patch):
    patch.setattr("perdure.replay.transcript.PYTHON", "3.7")


@breaks_promises("34a")
def leases_beyond_all_leases_are_live(patch):
    patch.setattr("perdure_conformance.model.mailboxes.FARTHEST", 10**12)


@breaks_promises("27a")
def every_rebuilt_execution_reports_again(patch):
    from perdure.runtime.value_differences import ValueDifferences

    patch.setattr(ValueDifferences, "_is_new", lambda *_: True)


@breaks_promises("27b")
def values_are_never_compared(patch):
    patch.setattr("perdure.replay.transcript.differences", lambda *_: [])


@breaks_promises("27c", "28d", "21f")
def nothing_that_is_parked_can_be_ended(patch):
    for place in ("delivery", "leased_instance", "turn_dispatcher"):
        patch.setattr(f"perdure.runtime.{place}.parked_and_cancelled", lambda *_: None)


@breaks_promises("45")
def an_event_that_does_not_fit_is_raised(patch):
    hand_over = Commands._hand_over

    def raising(self, event, wait):
        return hand_over(self, event, replace(wait, raises=True))

    patch.setattr(Commands, "_hand_over", raising)


@breaks_promises("45a")
def no_wait_gets_the_error(patch):
    hand_over = Commands._hand_over

    def waiting(self, event, wait):
        return hand_over(self, event, replace(wait, raises=False))

    patch.setattr(Commands, "_hand_over", waiting)


@breaks_promises("35")
def waiting_asks_without_a_pause(patch):
    tiny = timedelta(milliseconds=20)
    patch.setattr("perdure.client.waiting._SHORTEST_POLL", tiny)
    patch.setattr("perdure.client.waiting._LONGEST_POLL", tiny)
    patch.setattr("perdure.client.waiting._LONGEST_WAIT", tiny)


@breaks_promises("36", "24")
def results_are_lost_in_a_rebuilt_execution(patch):
    rebuilding = Execution.rebuilding.__func__

    def forgetful(cls, *arguments, **options):
        execution = yield from rebuilding(cls, *arguments, **options)
        execution._commands.work.clear()
        execution._commands.inbox._waits.clear()
        execution._commands.inbox._names.clear()
        return execution

    patch.setattr(Execution, "rebuilding", classmethod(forgetful))


@breaks_promises("37", "37a")
def failures_tell_nothing(patch):
    from perdure.model.details import Raised

    silent = Raised(type_name="Exception", message="something failed")
    for place in ("perdure.replay.execution", "perdure.runtime.activity_runner"):
        patch.setattr(f"{place}.describe", lambda *_, **__: silent, raising=False)
    for place in ("perdure.runtime.activity_call", "perdure.diagnostics.failures"):
        patch.setattr(f"{place}.describe", lambda *_, **__: silent, raising=False)


@breaks_promises("43")
def only_ordinary_exceptions_are_outcomes(patch):
    from perdure.diagnostics.failures import describe

    def choosy(error, **options):
        if not isinstance(error, Exception):
            raise TypeError("what is this?")
        return describe(error, **options)

    patch.setattr("perdure.runtime.activity_call.describe", choosy)


@breaks_promises("43a")
def failures_have_no_causes(patch):
    patch.setattr("perdure.diagnostics.failures._origin", lambda error: [])
    patch.setattr("perdure.diagnostics.failures._from_elsewhere", lambda error: None)


@breaks_promises("43b")
def policies_do_not_listen(patch):
    from perdure.authoring.retry import RetryPolicy

    def wait(self, failure, attempt, random):
        return self.backoff.delay(attempt, random)

    patch.setattr(RetryPolicy, "wait", wait)


@breaks_promises("38a")
def nothing_is_too_large(patch):
    patch.setattr(perdure.model.payload, "LARGEST_PAYLOAD", 2**40)


@breaks_promises("39b")
def every_id_is_welcome(patch):
    for place in (
        "client.calls",
        "client.starting",
        "client.starts",
        "client.outcome",
        "replay.context",
    ):
        patch.setattr(f"perdure.{place}.check_identifier", lambda value, what: value, raising=False)


@breaks_promises("39a")
def names_do_not_depend_on_case(patch):
    find = perdure.authoring.catalog.Catalog.orchestration

    def lower(self, name, version):
        return find(self, name.lower(), version) or find(self, name, version)

    patch.setattr(perdure.authoring.catalog.Catalog, "orchestration", lower)


@breaks_promises("40a")
def closing_waits_for_nothing(patch):
    run = Shutdown.run

    async def impatient(self, leasing, caring):
        self._grace = timedelta(0)
        await run(self, leasing, caring)

    patch.setattr(Shutdown, "run", impatient)


@breaks_promises("17")
def messages_of_an_old_execution_are_delivered(patch):
    async def send(self, messages):
        def current(message):
            row = self._store.tables.instances.get(message.instance)
            if row is None or message.kind is MessageKind.EVENT:
                return message
            return replace(message, incarnation=row.state.incarnation, execution=None)

        await ModelProvider.send(self, [current(message) for message in messages])

    return provider_with(send=send)


@breaks_promises("34")
def a_runtime_trusts_its_own_clock(patch):
    async def commit_turn(self, commit):
        early = tuple(
            replace(m, visible_at=m.visible_at - 6_000_000) if m.visible_at else m
            for m in commit.send
        )
        return await ModelProvider.commit_turn(self, replace(commit, send=early))

    return provider_with(commit_turn=commit_turn)


@breaks_promises("21e")
def damage_looks_like_an_outage(patch):
    async def read_history(self, *place, **named):
        page = await ModelProvider.read_history(self, *place, **named)
        if any(b"\x00" in each.data for each in page.events):
            raise StorageFailed("the disk is full; free some", operation="read_history")
        return page

    return provider_with(read_history=read_history)


@breaks_promises("44")
def what_comes_back_is_not_compared(patch):
    patch.setattr(Comparison, "same", lambda *_: None)


@pytest.mark.slow
def test_a_broken_promise_is_noticed(notices, broken_promise, scenario):
    assert notices(broken_promise, scenario)
