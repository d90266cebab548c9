"""Retries, rewinds, forks and terminations, as the client asks a provider for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from perdure import (
    ApplicationFailure,
    CapabilityMissing,
    Client,
    ExecutionNotFound,
    InstanceFilter,
    InstanceNotFound,
    InstanceRunning,
    InstanceStatus,
    InvalidInput,
    Raised,
    Registry,
    Terminated,
)
from perdure.contract import (
    DelegatingProvider,
    HistoryPage,
    InstanceReopening,
    InstanceTermination,
    MessageKind,
    StoredEvent,
)
from perdure.errors import HistoryConflict, InvalidVersion
from perdure.history import (
    ActivityFailed,
    ActivityScheduled,
    ChildCompleted,
    ChildFailed,
    ChildScheduled,
    CopiedFrom,
    OrchestrationCompleted,
    OrchestrationFailed,
    OrchestrationStarted,
    decode_event,
    encode_event,
)
from perdure.model.wire import HistoryCopy, decode_details, decode_result, decode_start
from perdure.records.limits import ENGINE_WITH_RECOVERY, RECOVERY
from perdure.testing import check_history

FAILURE = ApplicationFailure(Raised(type_name="ValueError", message="no stock"))


class Recovering(DelegatingProvider):
    """Keeps what it is asked to reopen and to terminate, and does nothing of it."""

    def __init__(self, inner) -> None:
        super().__init__(inner)
        self.capabilities = frozenset({RECOVERY})
        self.reopened: list[InstanceReopening] = []
        self.terminated: list[InstanceTermination] = []
        self.before: Callable[[InstanceReopening], None] = lambda reopening: None

    async def reopen_instance(self, reopening):
        self.reopened.append(reopening)
        self.before(reopening)

    async def terminate_instance(self, termination):
        self.terminated.append(termination)
        return True

    def copy(self) -> HistoryCopy | None:
        return decode_start(self.reopened[-1].start.data).copy


@pytest.fixture
def recovering(provider) -> Recovering:
    return Recovering(provider)


@pytest.fixture
def recovery(recovering) -> Client:
    return Client(recovering)


def started(clock, **fields):
    return OrchestrationStarted(
        event_id=1,
        at=clock.now(),
        instance="i",
        incarnation="x",
        execution=1,
        name="Sum",
        version="1.0.0",
        input="null",
        python="3.12",
        engine=1,
        **fields,
    )


async def failed_of_an_activity(client: Client, turns, clock) -> None:
    """An instance whose fourth event is the failure of its first activity."""
    await client.start_orchestration("i", "Sum")
    at = clock.now()
    await turns.fail(
        "i",
        FAILURE,
        started(clock),
        ActivityScheduled(event_id=2, at=at, name="charge", input="null"),
        ActivityScheduled(event_id=3, at=at, name="ship", input="null"),
        ActivityFailed(event_id=4, at=at, scheduled=2, details=FAILURE),
        OrchestrationFailed(event_id=5, at=at, details=FAILURE),
    )


def conflict(reopening: InstanceReopening) -> None:
    raise HistoryConflict("i", expected=(1, 0), found=(2, 1), operation="reopen_instance")


async def test_a_retry_keeps_what_was_before_the_failure(
    client, recovery, recovering, turns, clock
):
    await failed_of_an_activity(client, turns, clock)
    state = await recovering.read_instance("i")

    assert await recovery.retry_instance("i", reason="the bank is back", version="2.0.0") == 2
    (reopening,) = recovering.reopened
    assert recovering.copy() == HistoryCopy(
        instance="i", incarnation=state.incarnation, execution=1, to_event=3
    )
    assert (reopening.execution, reopening.version, reopening.unpin) == (1, "2.0.0", False)
    assert reopening.engine == ENGINE_WITH_RECOVERY
    assert (reopening.start.kind, reopening.start.execution) == (MessageKind.START, 2)
    assert decode_start(reopening.start.data).reason == "the bank is back"


async def test_a_retry_needs_a_failed_instance(client, recovery, recovering, turns, clock):
    with pytest.raises(InstanceNotFound):
        await recovery.retry_instance("i")
    await client.start_orchestration("i", "Sum")
    with pytest.raises(InstanceRunning, match="rewind it with rewind_instance"):
        await recovery.retry_instance("i")
    await turns.complete("i", "1")
    with pytest.raises(InvalidInput, match="is Completed, and a retry needs a failed one"):
        await recovery.retry_instance("i")
    assert recovering.reopened == []


async def test_a_rewind_goes_to_any_event_at_which_a_history_can_be_cut(
    client, recovery, recovering, turns, clock
):
    await client.start_orchestration("i", "Sum")
    at = clock.now()
    await turns.complete(
        "i",
        "1",
        started(clock),
        ActivityScheduled(event_id=2, at=at, name="charge", input="null"),
        ActivityScheduled(event_id=3, at=at, name="ship", input="null"),
        ActivityFailed(event_id=4, at=at, scheduled=2, details=FAILURE),
        OrchestrationCompleted(event_id=5, at=at, output="1"),
    )

    assert await recovery.rewind_instance("i", to_event=1, newest_version=True) == 2
    assert recovering.reopened[-1].unpin is True
    for to_event in (3, 4):
        await recovery.rewind_instance("i", to_event=to_event, execution=1)
        assert recovering.copy().to_event == to_event
    with pytest.raises(InvalidInput, match=r"to_event 2 of execution 1 .*; pass 1 or 3"):
        await recovery.rewind_instance("i", to_event=2)
    with pytest.raises(InvalidInput, match="pass 4"):
        await recovery.rewind_instance("i", to_event=7)
    with pytest.raises(ExecutionNotFound):
        await recovery.rewind_instance("i", to_event=1, execution=2)
    assert len(recovering.reopened) == 3


async def test_an_execution_without_events_cannot_be_cut(client, recovery):
    await client.start_orchestration("i", "Sum")
    with pytest.raises(InvalidInput, match="has no event yet"):
        await recovery.rewind_instance("i", to_event=1)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"to_event": "1"}, InvalidInput),
        ({"to_event": True}, InvalidInput),
        ({"to_event": 1, "execution": "1"}, InvalidInput),
        ({"to_event": 1, "reason": 7}, InvalidInput),
        ({"to_event": 1, "reason": "x" * 20_000}, InvalidInput),
        ({"to_event": 1, "version": "newest"}, InvalidVersion),
        ({"to_event": 1, "version": "1.0.0", "newest_version": True}, InvalidInput),
    ],
)
async def test_an_argument_of_a_rewind_that_does_not_fit_is_refused(
    client, recovery, recovering, turns, clock, arguments, kind
):
    await failed_of_an_activity(client, turns, clock)
    with pytest.raises(kind):
        await recovery.rewind_instance("i", **arguments)
    assert recovering.reopened == []


async def test_a_rewind_whose_answer_was_lost_is_recognised_before_its_first_turn(
    client, recovery, recovering, turns, clock, monkeypatch
):
    await failed_of_an_activity(client, turns, clock)
    state = await recovering.read_instance("i")
    recovering.before = conflict

    async def reopened(instance):
        return (
            dataclasses.replace(
                state, execution=2, last_event=0, last_commit=recovering.reopened[-1].id
            )
            if recovering.reopened
            else state
        )

    monkeypatch.setattr(recovering, "read_instance", reopened)

    assert await recovery.retry_instance("i") == 2


async def test_a_rewind_whose_answer_was_lost_is_recognised_by_its_first_event(
    client, recovery, recovering, turns, clock
):
    await failed_of_an_activity(client, turns, clock)
    state = await recovering.read_instance("i")
    copied = CopiedFrom(
        instance="i",
        incarnation=state.incarnation,
        execution=1,
        event=3,
        reason="again",
        requested_at=clock.now(),
    )

    for found, is_ours in ((copied, True), (dataclasses.replace(copied, event=1), False)):
        recovering.reopened.clear()
        recovering.before = conflict
        client_of = Client(Reopened(recovering, started(clock, copied_from=found)))
        if is_ours:
            assert await client_of.retry_instance("i", reason="again") == 2
        else:
            with pytest.raises(HistoryConflict):
                await client_of.retry_instance("i", reason="again")


class Reopened(DelegatingProvider):
    """Shows a second execution, with this first event, as soon as it was reopened."""

    def __init__(self, inner: Recovering, first: OrchestrationStarted) -> None:
        super().__init__(inner)
        self.first = first

    async def read_instance(self, instance):
        state = await super().read_instance(instance)
        if not self.inner.reopened:
            return state
        return dataclasses.replace(state, execution=2, last_event=1, last_commit="of a turn")

    async def read_history(self, instance, execution, *, incarnation, after=0):
        if execution == 2:
            event = StoredEvent(number=1, data=encode_event(self.first))
            return HistoryPage(events=(event,), more=False)
        return await super().read_history(instance, execution, incarnation=incarnation, after=after)


async def test_a_fork_begins_with_the_history_of_its_source(
    client, recovery, recovering, turns, clock
):
    await failed_of_an_activity(client, turns, clock)
    source = await recovering.read_instance("i")

    handle = await recovery.fork_instance("i", "j", reason="to try it")
    created = decode_start((await turns.lease("j")).messages[0].data)
    assert handle.instance == "j"
    assert created.copy == HistoryCopy(
        instance="i", incarnation=source.incarnation, execution=1, to_event=3
    )
    assert created.reason == "to try it"
    fork = await recovering.read_instance("j")
    assert (fork.name, fork.engine, fork.parent) == ("Sum", ENGINE_WITH_RECOVERY, None)
    assert await recovering.read_instance("i") == source
    with pytest.raises(InvalidInput, match="pass 1 or 3"):
        await recovery.fork_instance("i", "k", to_event=2)
    assert await recovering.read_instance("k") is None
    with pytest.raises(InvalidInput, match="forked onto its own id"):
        await recovery.fork_instance("i", "i", if_exists="replace_ended")


async def test_a_termination_ends_the_history_and_tells_the_parent(
    client, recovery, recovering, turns, clock
):
    await client.start_orchestration("parent", "Sum")
    await turns.start_child("parent", "i")

    assert await recovery.terminate_instance("i", "no more") is True
    (termination,) = recovering.terminated
    details = ApplicationFailure(Terminated(reason="no more"))
    (event,) = (decode_event(1, data) for data in termination.events)
    assert event.details == decode_details(termination.output) == details
    (answer,) = termination.send
    assert (answer.instance, answer.kind) == ("parent", MessageKind.CHILD)
    assert decode_result(answer.data).details == details


async def test_a_termination_asks_running_children_to_cancel(
    client, recovery, recovering, turns, clock
):
    await client.start_orchestration("i", "Sum")
    at = clock.now()
    await turns.step(
        "i",
        started(clock),
        ChildScheduled(event_id=2, at=at, instance="ended", name="Sum", input="null"),
        ChildScheduled(event_id=3, at=at, instance="running", name="Sum", input="null"),
        ChildCompleted(event_id=4, at=at, scheduled=2, result="1"),
    )

    await recovery.terminate_instance("i")
    (termination,) = recovering.terminated
    assert [decode_event(5, data).kind for data in termination.events] == ["OrchestrationFailed"]
    assert [(m.instance, m.kind) for m in termination.send] == [("running", MessageKind.CANCEL)]


async def test_a_termination_of_what_has_ended_has_no_effect(client, recovery, recovering, turns):
    with pytest.raises(InstanceNotFound):
        await recovery.terminate_instance("i")
    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "1")

    assert await recovery.terminate_instance("i") is False
    assert recovering.terminated == []


class Interleaved(DelegatingProvider):
    """Lets something happen between the read of a termination and its call."""

    def __init__(self, inner, meanwhile) -> None:
        super().__init__(inner)
        self.meanwhile = meanwhile

    async def terminate_instance(self, termination):
        await self.meanwhile()
        return await super().terminate_instance(termination)


async def test_a_first_turn_that_comes_between_stands_before_the_termination(
    provider, client, turns, clock
):
    await client.start_orchestration("i", "Sum")
    terminating = Client(Interleaved(provider, lambda: turns.step("i", started(clock))))

    assert await terminating.terminate_instance("i", "no more") is True
    events = await client.read_execution_history("i", 1)
    assert [(event.event_id, event.kind) for event in events] == [
        (1, "OrchestrationStarted"),
        (2, "OrchestrationFailed"),
    ]


async def test_an_execution_that_begins_between_ends_before_its_first_turn(
    provider, client, turns, clock
):
    await client.start_orchestration("i", "Sum")
    meanwhile = lambda: turns.continue_as_new("i", started(clock))  # noqa: E731 # as short
    terminating = Client(Interleaved(provider, meanwhile))

    assert await terminating.terminate_instance("i", "no more") is True
    events = await client.read_execution_history("i", 2)
    assert [(event.event_id, event.kind) for event in events] == [(1, "OrchestrationFailed")]
    failed = await client.get_orchestration_status("i")
    assert failed.details == ApplicationFailure(Terminated(reason="no more"))


async def test_what_ended_before_its_first_turn_cannot_run_again(provider, client):
    await client.start_orchestration("i", "Sum")
    await client.terminate_instance("i")

    for call in (
        client.retry_instance("i"),
        client.rewind_instance("i", to_event=1),
        client.fork_instance("i", "j"),
    ):
        with pytest.raises(InvalidInput, match="ended before its first turn; start it again"):
            await call
    assert [event.kind for event in await client.read_execution_history("i", 1)] == [
        "OrchestrationFailed"
    ]
    document = await client.export_history("i")
    assert check_history(document, Registry()).executions == ()


async def test_a_terminated_instance_runs_again_from_where_it_was(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    await turns.step("i", started(clock))
    await client.terminate_instance("i")

    assert await client.retry_instance("i") == 2
    turn = await turns.lease("i")
    assert decode_start(turn.messages[0].data).copy.to_event == 1
    assert await client.list_executions("i") == [1, 2]


async def test_a_failed_child_is_retried_before_its_parent(client, turns, clock):
    await client.start_orchestration("parent", "Sum")
    at = clock.now()
    child = ChildScheduled(event_id=2, at=at, instance="child", name="Sum", input="null")
    await turns.start_child("parent", "child", started(clock), child, event=2)
    await turns.fail(
        "child", FAILURE, started(clock), OrchestrationFailed(event_id=2, at=at, details=FAILURE)
    )
    await client.raise_event("parent", "go")  # so that it is ready
    await turns.fail(
        "parent",
        FAILURE,
        ChildFailed(event_id=3, at=at, scheduled=2, details=FAILURE),
        OrchestrationFailed(event_id=4, at=at, details=FAILURE),
    )

    await client.retry_instance("parent")
    for instance, to_event in (("child", 1), ("parent", 2)):
        info = await client.get_instance_info(instance)
        assert (info.status, info.execution) == (InstanceStatus.RUNNING, 2)
        turn = await turns.lease(instance)
        assert decode_start(turn.messages[0].data).copy.to_event == to_event


async def test_failed_roots_that_match_are_retried_and_the_others_named(client, turns, clock):
    for instance, name in (("a", "Sum"), ("b", "Sum"), ("c", "Greet"), ("running", "Sum")):
        await client.start_orchestration(instance, name)
        if instance != "running":
            clock.advance(1)
            await turns.fail(
                instance,
                FAILURE,
                started(clock),
                OrchestrationFailed(event_id=2, at=clock.now(), details=FAILURE),
            )
    await client.start_orchestration("never-ran", "Sum")
    await client.terminate_instance("never-ran")
    sums = InstanceFilter(orchestration="Sum")

    result = await client.retry_instances(sums, limit=1, reason="repaired")
    assert result.retried == ("b",)
    assert [instance for instance, _ in result.refused] == ["never-ran"]
    assert "before its first turn" in result.refused[0][1]
    assert (await client.retry_instances(sums, limit=10)).retried == ("a",)
    assert (await client.retry_instances(limit=10)).retried == ("c",)
    assert (await client.get_instance_info("b")).status is InstanceStatus.RUNNING
    for chosen, limit in ((InstanceFilter(status="Completed"), 1), (None, 0), (None, True)):
        with pytest.raises(InvalidInput):
            await client.retry_instances(chosen, limit=limit)


async def test_without_the_capability_each_call_names_it(provider):
    plain = DelegatingProvider(provider)
    plain.capabilities = frozenset()
    client = Client(plain)
    for call in (
        client.retry_instance("i"),
        client.retry_instances(limit=1),
        client.rewind_instance("i", to_event=1),
        client.fork_instance("i", "j"),
        client.terminate_instance("i"),
    ):
        with pytest.raises(CapabilityMissing, match="'recovery'"):
            await call
