"""Makes the incoming event of a message: what a history says about what came in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from perdure import history
from perdure.clock import Instant
from perdure.history import Event
from perdure.model.wire import ResultData
from perdure.records.instances import Message, MessageKind
from perdure.replay.signals import UndecodableData

T = TypeVar("T")


def decoded(message: Message, decode: Callable[[bytes], T]) -> T:
    """The message's data; raises `UndecodableData` where it cannot be read."""
    try:
        return decode(message.data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UndecodableData(
            f"message {message.id!r} of kind {message.kind.value} of instance"
            f" {message.instance!r} cannot be decoded: {error}; it is kept as it is"
        ) from error


def end_of_work(kind: MessageKind, data: ResultData, number: int, at: Instant) -> Event:
    """The event that says how an activity, a timer or a child ended."""
    scheduled = data.scheduled
    if kind is MessageKind.TIMER:
        return history.TimerFired(event_id=number, at=at, scheduled=scheduled)
    if kind is MessageKind.ACTIVITY:
        if data.details is None:
            return history.ActivityCompleted(
                event_id=number, at=at, scheduled=scheduled, result=data.result or "null"
            )
        return history.ActivityFailed(
            event_id=number, at=at, scheduled=scheduled, details=data.details
        )
    if data.details is not None:
        return history.ChildFailed(
            event_id=number, at=at, scheduled=scheduled, details=data.details
        )
    if data.result is not None:
        return history.ChildCompleted(
            event_id=number, at=at, scheduled=scheduled, result=data.result
        )
    return history.ChildRefused(event_id=number, at=at, scheduled=scheduled)
