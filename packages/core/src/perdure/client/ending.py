"""Ending a running instance at once, without its code: for a termination and a forced deletion.

Its cleanup is not run. Its running children are asked to cancel, and its parent is told, both in
the same step.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from perdure import history
from perdure.client.histories import read_readable_history
from perdure.clock import Instant
from perdure.contract.provider import Provider
from perdure.contract.retries import with_retries
from perdure.history import Event, OrchestrationStarted, encode_event
from perdure.model.details import ErrorDetails
from perdure.model.identifiers import child_incarnation
from perdure.model.message_ids import CANCEL_ID
from perdure.model.wire import CancelData, encode_cancel, encode_details
from perdure.records.answers import child_answer
from perdure.records.instances import InstanceState, Message, MessageKind
from perdure.records.recovery import InstanceTermination

_ENDS_OF_CHILDREN = (
    history.ChildCompleted,
    history.ChildFailed,
    history.ChildRefused,
    history.WorkCancelled,
)


async def terminate(provider: Provider, state: InstanceState, details: ErrorDetails) -> bool:
    """End the instance as Failed; returns False if it had ended before.

    Raises `InstanceNotFound` if the incarnation is gone.
    """
    # What is damaged must not keep an operator from ending the instance.
    events = await read_readable_history(
        provider, state.instance, state.execution, incarnation=state.incarnation
    )
    answer = () if state.parent is None else (child_answer(state.parent, None, details),)
    termination = InstanceTermination(
        id=uuid.uuid4().hex,
        instance=state.instance,
        incarnation=state.incarnation,
        events=(encode_event(_end(events, details, provider.clock.now())),),
        output=encode_details(details),
        send=(*_cancellations(state, events), *answer),
    )
    terminated = await with_retries(
        provider.clock, lambda: provider.terminate_instance(termination)
    )
    provider.notifier.notify_instance(state.instance)
    for message in termination.send:
        provider.notifier.notify_turns(message.instance)
    return terminated


def _end(events: Sequence[Event], details: ErrorDetails, now: Instant) -> Event:
    """The last event. It does not say its number, so it is right behind a turn that came between, too.

    It is the only event of an execution that had no turn: no start is recorded in its place, whose
    input is not known here, and which a first turn may have recorded meanwhile.
    """
    at = max(now, events[-1].at) if events else now
    return history.OrchestrationFailed(event_id=len(events) + 1, at=at, details=details)


def _cancellations(state: InstanceState, events: Sequence[Event]) -> Iterator[Message]:
    """Requests to cancel the running children, as the end of a parent sends them."""
    for child in open_children(events):
        yield Message(
            id=CANCEL_ID,
            instance=child.instance,
            incarnation=incarnation_of_child(events, child, state.incarnation),
            kind=MessageKind.CANCEL,
            data=encode_cancel(CancelData(reason="the parent ended")),
        )


def open_children(events: Sequence[Event]) -> list[history.ChildScheduled]:
    """The children that have not ended in these events, which begin a history."""
    running: dict[int, history.ChildScheduled] = {}
    for event in events:
        if isinstance(event, history.ChildScheduled):
            running[event.event_id] = event
        elif isinstance(event, _ENDS_OF_CHILDREN):
            running.pop(event.scheduled, None)
    return list(running.values())


def incarnation_of_child(
    events: Sequence[Event], child: history.ChildScheduled, parent_incarnation: str
) -> str:
    """The incarnation that the child of this schedule event has."""
    started = events[0]
    origin = started.origin(child.event_id) if isinstance(started, OrchestrationStarted) else 1
    return child_incarnation(parent_incarnation, origin, child.event_id)
