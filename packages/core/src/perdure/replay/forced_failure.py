"""Fails an execution without its code, which is not registered or kills the process that runs it."""

from __future__ import annotations

from collections.abc import Sequence

from perdure import history
from perdure.clock import Instant
from perdure.history import Event
from perdure.model.details import ErrorDetails
from perdure.model.wire import StartData, encode_details
from perdure.records.instances import InstanceState, InstanceStatus
from perdure.records.limits import ENGINE
from perdure.records.turns import ExecutionEnd
from perdure.replay.outgoing import Outgoing
from perdure.replay.transcript import PYTHON
from perdure.replay.turn import TurnDraft


def fail_without_code(
    state: InstanceState,
    events: Sequence[Event],
    start: StartData | None,
    details: ErrorDetails,
    now: Instant,
) -> TurnDraft:
    """The turn that fails an execution, cancels its children and notifies its parent.

    `events` is the history, as far as it can be read. If there is no event yet, `start` becomes the
    first one.
    """
    draft = TurnDraft()
    number = state.last_event
    at = max(now, events[-1].at) if events else now
    if state.last_event == 0:
        number += 1
        draft.events.append(_started(state, start, number, at))
    draft.events.append(history.OrchestrationFailed(event_id=number + 1, at=at, details=details))
    draft.end = ExecutionEnd(status=InstanceStatus.FAILED, output=encode_details(details))
    outgoing = Outgoing(state.instance, state.incarnation, state.execution, state.parent)
    draft.sent.extend(
        outgoing.cancel_of_child(child.event_id, child.instance, "the parent ended")
        for child in _running_children(events)
    )
    draft.sent.extend(outgoing.answer_to_parent(None, details))
    return draft


def _started(
    state: InstanceState, start: StartData | None, number: int, at: Instant
) -> history.OrchestrationStarted:
    return history.OrchestrationStarted(
        event_id=number,
        at=at,
        instance=state.instance,
        incarnation=state.incarnation,
        execution=state.execution,
        name=state.name,
        version=state.version or "",
        input="null" if start is None else start.input,
        python=PYTHON,
        engine=ENGINE,
        parent=state.parent,
        seen=() if start is None else start.seen,
    )


def _running_children(events: Sequence[Event]) -> list[history.ChildScheduled]:
    running: dict[int, history.ChildScheduled] = {}
    for event in events:
        if isinstance(event, history.ChildScheduled):
            running[event.event_id] = event
        elif isinstance(
            event,
            history.ChildCompleted
            | history.ChildFailed
            | history.ChildRefused
            | history.WorkCancelled,
        ):
            running.pop(event.scheduled, None)
    return list(running.values())
