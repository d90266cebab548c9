"""A turn: the events that messages become, the work under way, and what the turn brings about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from perdure import history
from perdure.clock import Instant
from perdure.diagnostics.failures import is_timeout
from perdure.errors import (
    ActivityFailed,
    ActivityTimeout,
    SubOrchestrationAlreadyExists,
    SubOrchestrationFailed,
)
from perdure.history import Event
from perdure.model.record import record
from perdure.model.wire import ActivityData, ResultData
from perdure.records.instances import Message, MessageKind
from perdure.records.turns import ExecutionEnd, NewChild
from perdure.replay.futures import ScheduledFuture
from perdure.replay.signals import UndecodableData

T = TypeVar("T")


def decoded(message: Message, decode: Callable[[bytes], T]) -> T:
    """The message's data; raises `UndecodableData` if it cannot be decoded."""
    try:
        return decode(message.data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UndecodableData(
            f"message {message.id!r} of kind {message.kind.value} of instance"
            f" {message.instance!r} cannot be decoded: {error}; it is kept as it is"
        ) from error


def end_of_work(kind: MessageKind, data: ResultData, number: int, at: Instant) -> Event:
    """The event for the end of an activity, a timer or a child."""
    scheduled = data.scheduled
    if kind is MessageKind.TIMER:
        return history.TimerFired(event_id=number, at=at, scheduled=scheduled)
    if kind is MessageKind.ACTIVITY:
        if data.started:
            return history.ActivityStarted(event_id=number, at=at, scheduled=scheduled)
        if data.details is None:
            return history.ActivityCompleted(
                event_id=number,
                at=at,
                scheduled=scheduled,
                result=data.result or "null",
                delivery=data.delivery,
            )
        return history.ActivityFailed(
            event_id=number,
            at=at,
            scheduled=scheduled,
            details=data.details,
            delivery=data.delivery,
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


@record(kw_only=False)
class Work:
    """An activity, a timer or a child under way."""

    kind: MessageKind
    future: ScheduledFuture[Any] | None
    """None for timers of the loop, which call back, and for the time limit of a cleanup."""
    name: str = ""
    result_type: object = Any
    child: str = ""
    """The child's instance id."""


def settle(work: Work, future: ScheduledFuture[Any], event: Event) -> None:
    """Settle the future of the work with its outcome."""
    match event:
        case history.ActivityCompleted():
            future.settle(event.result, work.result_type, f"result of activity {work.name!r}")
        case history.ActivityFailed(details=details):
            failure = ActivityTimeout if is_timeout(details) else ActivityFailed
            future.fail(failure(work.name, details))
        case history.ChildCompleted(result=result):
            future.settle(result, work.result_type, f"result of sub-orchestration {work.name!r}")
        case history.ChildFailed(details=details):
            future.fail(SubOrchestrationFailed(work.child, work.name, details))
        case history.ChildRefused():
            future.fail(SubOrchestrationAlreadyExists(work.child, work.name))
        case _:
            future.succeed(None)


@record
class UnfitEvent:
    """An external event that does not fit the wait that it was handed to."""

    name: str
    event_id: str
    """The id under which it was raised."""
    reason: str


@dataclass(slots=True)
class DraftActivity:
    """An activity that a turn adds.

    The commit encodes `data`; a process that begins the activity itself uses the object directly.
    """

    id: str
    name: str
    tag: str | None
    data: ActivityData
    is_direct: bool = False
    """Whether the commit adds it leased to this process, which begins it."""


@dataclass(slots=True, init=False)
class TurnDraft:
    """Collects the effects of a turn while it runs. An effect that is undone in the same turn is gone."""

    events: list[Event]
    activities: dict[int, DraftActivity]
    """Added activities by the number of their schedule event."""
    timers: dict[int, Message]
    children: dict[int, NewChild]
    detached: list[NewChild]
    cancelled_activities: list[str]
    ending_activities: list[str]
    """Ids of activities that are asked to end, whose outcome is still awaited."""
    removed: list[str]
    """Ids of messages of cancelled timers."""
    sent: list[Message]
    front: list[Message]
    unawaited: list[str]
    """Work that the end drops and that nothing has awaited, in words for the log."""
    dropped: list[str]
    """Work that the end drops although a cancellation should wait for it, in words for the log."""
    unfit: list[UnfitEvent]
    """Events that waits have refused, for the log and observers."""
    end: ExecutionEnd | None
    version: str | None
    engine: int | None
    """The engine that the history needs from this turn on; None: as before."""
    unpin: bool
    custom_status: bytes | None
    values: dict[str, bytes | None]
    """Values that are set, or with None deleted."""

    def __init__(self) -> None:
        # By hand: every turn makes one, and a generated function asks each field for its factory.
        self.events = []
        self.activities = {}
        self.timers = {}
        self.children = {}
        self.detached = []
        self.cancelled_activities = []
        self.ending_activities = []
        self.removed = []
        self.sent = []
        self.front = []
        self.unawaited = []
        self.dropped = []
        self.unfit = []
        self.end = None
        self.version = None
        self.engine = None
        self.unpin = False
        self.custom_status = None
        self.values = {}
