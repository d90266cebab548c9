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
from perdure.replay.copying import open_children
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

    `events` is the history, as far as it can be read. Before the first turn, it is the copied one
    with which the execution was to begin, if there is one; else `start` becomes the first event.
    """
    draft = TurnDraft()
    number = state.last_event
    at = max(now, events[-1].at) if events else now
    if state.last_event == 0:
        draft.events.extend(events or [_started(state, start, at)])
        number = len(draft.events)
    draft.events.append(history.OrchestrationFailed(event_id=number + 1, at=at, details=details))
    draft.end = ExecutionEnd(status=InstanceStatus.FAILED, output=encode_details(details))
    first = events[0] if events else None
    origin = first.origin if isinstance(first, history.OrchestrationStarted) else None
    outgoing = Outgoing(state.instance, state.incarnation, state.execution, state.parent, origin)
    draft.sent.extend(
        outgoing.cancel_of_child(number, child.instance, "the parent ended")
        for number, child in open_children(events).items()
    )
    draft.sent.extend(outgoing.answer_to_parent(None, details))
    return draft


def _started(
    state: InstanceState, start: StartData | None, at: Instant
) -> history.OrchestrationStarted:
    return history.OrchestrationStarted(
        event_id=1,
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
        start_at=None if start is None else start.start_at,
        headers=None if start is None else start.headers or None,
    )
