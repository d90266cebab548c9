"""The events of a history, in order: what came in, and what the orchestration asked for.

The engine delivers an incoming event (`INCOMING`) to the orchestration; the commands that the
orchestration then gives follow it. One terminal event ends the history. Events are numbered
from 1; the number stands beside the encoded event, not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final, TypeAlias, cast

from pydantic_core import to_json

from perdure.clock import Instant, to_datetime
from perdure.model.details import ErrorDetails, details_from_plain, details_to_plain
from perdure.model.envelope import plain_json
from perdure.model.object_writer import object_writer
from perdure.model.record import record
from perdure.records.instances import ParentLink

FORMAT: Final = 2
"""The format of new histories."""
FIRST_FORMAT: Final = 1
"""The format of version 0.1.0."""


@record
class HistoryEvent:
    """The base class of all events."""

    event_id: int
    at: Instant
    """Microseconds since the epoch."""

    @property
    def kind(self) -> str:
        """The name of the event's class."""
        return type(self).__name__

    @property
    def time(self) -> datetime:
        """When it was recorded, in UTC."""
        return to_datetime(self.at)

    def __str__(self) -> str:
        own = [(field.name, getattr(self, field.name)) for field in fields(self)]
        shown = ", ".join(
            f"{name}={_in_words(name, value)}"
            for name, value in own
            if name not in ("event_id", "at") and value is not None and value != ()
        )
        return f"{self.event_id:>4}  {self.time:%Y-%m-%d %H:%M:%S.%f}  {self.kind}({shown})"


@record
class CopiedFrom:
    """The history that a rewound or forked execution begins with, and who asked for it."""

    instance: str
    incarnation: str
    execution: int
    event: int
    """The number of the last event that was kept."""
    reason: str = ""
    requested_at: Instant | None = None


@record
class Kept:
    """Up to `to_event`, and behind the one before it, events were first recorded in `execution`."""

    execution: int
    """An execution of this instance; what its activities and children are known by derives from it."""
    to_event: int
    at: Instant
    """When the rewind or the fork was asked for that kept them."""


@record
class Seed:
    """An execution whose random numbers are drawn from an event on.

    A rewound execution repeats the choices of the one that it continues. A fork does so up to its
    cut, and makes its own from there on.
    """

    instance: str
    incarnation: str
    execution: int
    from_event: int = 0


@record
class OrchestrationStarted(HistoryEvent):
    """The first event of every history."""

    instance: str
    incarnation: str
    execution: int
    name: str
    version: str
    input: str
    python: str
    """The minor version of Python that runs it, such as `3.12`."""
    engine: int
    parent: ParentLink | None = None
    seen: tuple[str, ...] = ()
    """Ids of external events that earlier executions delivered to a wait, newest last."""
    format: int = FORMAT
    """The format of this history; from 2 on it records retry policies."""
    copied_from: CopiedFrom | None = None
    """Set in a rewound execution, and in the first one of a fork."""
    lineage: tuple[Kept, ...] | None = None
    """Where the kept events were first recorded, by rising `to_event`; None: nothing was kept."""
    seeds: tuple[Seed, ...] | None = None
    """By rising `from_event`; the first also decides the order of tasks. None: the execution itself."""
    start_at: Instant | None = None
    """The orchestration is not called before; None: at once."""
    headers: Mapping[str, str] | None = None
    """What travels from the start to activities and children; None: nothing."""

    @property
    def is_fork(self) -> bool:
        """Whether it began with a copy of another instance's history."""
        source = self.copied_from
        return source is not None and (source.instance, source.incarnation) != (
            self.instance,
            self.incarnation,
        )

    def origin(self, event: int) -> int:
        """The execution of this instance in which the event was first recorded."""
        for kept in self.lineage or ():
            if event <= kept.to_event:
                return kept.execution
        return self.execution


@record
class ActivityScheduled(HistoryEvent):
    """The orchestration asked for an activity."""

    name: str
    input: str
    attempt: int = 1
    tag: str | None = None
    retry: str | None = None
    """The retry policy as JSON text, at the first attempt."""


@record
class ActivityCompleted(HistoryEvent):
    """An activity returned."""

    scheduled: int
    """The number of the schedule event."""
    result: str
    delivery: int | None = None
    """Which delivery of the activity returned, after a process ended under each one before it;
    None: the first."""


@record
class ActivityFailed(HistoryEvent):
    """An activity raised."""

    scheduled: int
    details: ErrorDetails
    delivery: int | None = None
    """Which delivery of the activity raised; None: the first."""


@record
class TimerCreated(HistoryEvent):
    """The orchestration set a timer, or the engine did so on its behalf."""

    fire_at: Instant
    purpose: str = "sleep"
    """`sleep`; `cleanup` for the limit that a cancellation sets; `start` where the orchestration
    begins later; `start_timeout` for the limit of an activity's beginning."""


@record
class TimerFired(HistoryEvent):
    """A timer fired."""

    scheduled: int


@record
class WaitCreated(HistoryEvent):
    """The orchestration began to wait for an external event."""

    name: str


@record
class EventRaised(HistoryEvent):
    """An external event came in."""

    name: str
    data: str
    message_id: str


@record
class EventRefused(HistoryEvent):
    """An external event did not fit its wait: the event is consumed, and the wait goes on."""

    event: int
    """The number of its `EventRaised`."""
    wait: int
    """The number of the `WaitCreated` or the `EventPolled`."""
    reason: str


@record
class ChildScheduled(HistoryEvent):
    """The orchestration asked for a child."""

    instance: str
    name: str
    input: str
    version: str | None = None


@record
class ChildCompleted(HistoryEvent):
    """A child ended with a result."""

    scheduled: int
    result: str


@record
class ChildFailed(HistoryEvent):
    """A child failed."""

    scheduled: int
    details: ErrorDetails


@record
class ChildRefused(HistoryEvent):
    """A child could not be started: its id was in use."""

    scheduled: int


@record
class DetachedScheduled(HistoryEvent):
    """The orchestration started another one, without waiting for it."""

    instance: str
    name: str
    input: str
    version: str | None = None


@record
class WorkCancelled(HistoryEvent):
    """The orchestration cancelled work that it had scheduled."""

    scheduled: int


@record
class PatchApplied(HistoryEvent):
    """The execution took the path of a patch, where it came to the patch first."""

    name: str
    deprecated: bool = False
    """Whether only `deprecate_patch` asked for it: code without the call agrees too."""


@record
class StatusSet(HistoryEvent):
    """The orchestration set its custom status."""

    value: str
    """JSON text."""


@record
class ValueSet(HistoryEvent):
    """The orchestration set or deleted a value of the instance."""

    key: str
    value: str | None = None
    """JSON text; None: the value was deleted."""
    previous: str | None = None
    """What the execution had inherited under the key, where this is its first change of it.

    A rewind to an earlier event restores it.
    """
    refused: bool = False
    """Whether the instance had as many values as it may have, so that nothing was set."""


@record
class ValueRead(HistoryEvent):
    """The orchestration read a value that the execution had inherited."""

    key: str
    value: str | None = None
    """JSON text; None: there was no such value."""


@record
class ValuesListed(HistoryEvent):
    """The orchestration read all values; a `ValueRead` follows for each of these."""

    keys: tuple[str, ...] = ()
    """The inherited values that the execution had neither read nor changed."""


@record
class EventPolled(HistoryEvent):
    """The orchestration took an external event that was there, without waiting."""

    name: str
    event: int | None = None
    """The number of its `EventRaised`; None: there was none."""


@record
class EventSent(HistoryEvent):
    """The orchestration raised an external event to an instance."""

    instance: str
    name: str
    data: str


@record
class ActivityStarted(HistoryEvent):
    """A worker began an activity that has a limit for its beginning."""

    scheduled: int


@record
class CancelRequested(HistoryEvent):
    """A client or a parent requested the cancellation of the instance."""

    reason: str


@record
class OrchestrationCompleted(HistoryEvent):
    """Terminal: the orchestration returned."""

    output: str


@record
class OrchestrationFailed(HistoryEvent):
    """Terminal: the orchestration raised, was cancelled or was ended."""

    details: ErrorDetails


@record
class OrchestrationContinuedAsNew(HistoryEvent):
    """Terminal: the next execution begins with this input."""

    input: str
    version: str | None = None


INCOMING = (
    OrchestrationStarted,
    ActivityStarted,
    ActivityCompleted,
    ActivityFailed,
    TimerFired,
    EventRaised,
    ChildCompleted,
    ChildFailed,
    ChildRefused,
    CancelRequested,
)
"""The events that are delivered to an orchestration; all others record what it asked for."""

TERMINAL = (OrchestrationCompleted, OrchestrationFailed, OrchestrationContinuedAsNew)

Event: TypeAlias = (
    OrchestrationStarted
    | ActivityScheduled
    | ActivityCompleted
    | ActivityFailed
    | TimerCreated
    | TimerFired
    | WaitCreated
    | EventRaised
    | EventRefused
    | ChildScheduled
    | ChildCompleted
    | ChildFailed
    | ChildRefused
    | DetachedScheduled
    | WorkCancelled
    | PatchApplied
    | StatusSet
    | ValueSet
    | ValueRead
    | ValuesListed
    | EventPolled
    | EventSent
    | ActivityStarted
    | CancelRequested
    | OrchestrationCompleted
    | OrchestrationFailed
    | OrchestrationContinuedAsNew
)

_CLASSES: Mapping[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        *INCOMING,
        *TERMINAL,
        ActivityScheduled,
        TimerCreated,
        WaitCreated,
        EventRefused,
        ChildScheduled,
        DetachedScheduled,
        WorkCancelled,
        PatchApplied,
        StatusSet,
        ValueSet,
        ValueRead,
        ValuesListed,
        EventPolled,
        EventSent,
    )
}
_FIELDS: Mapping[type[Event], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind) if field.name != "event_id")
    for kind in _CLASSES.values()
}
_WRITERS: dict[type[Event], Callable[[Any], bytes]] = {}
"""Made when the first event of a class is encoded."""

_RECORDS_OF_START: Mapping[str, Callable[..., object]] = {
    "parent": ParentLink,
    "copied_from": CopiedFrom,
}
_LISTS_OF_START: Mapping[str, Callable[..., object]] = {"lineage": Kept, "seeds": Seed}


def encode_event(event: Event) -> bytes:
    """The event as bytes of JSON, without its number."""
    kind = type(event)
    write = _WRITERS.get(kind)
    if write is None:
        write = _WRITERS[kind] = object_writer(kind, without="event_id", other=_text_of)
    return write(event)


def _text_of(value: object) -> str:
    """A value that is neither a text nor a number, as JSON text."""
    if isinstance(value, ErrorDetails):
        value = details_to_plain(value)
    return to_json(value).decode()


def decode_event(number: int, data: bytes) -> Event:
    """The event that `encode_event` encoded; raises ValueError if the data is no event."""
    try:
        plain = cast("dict[str, object]", plain_json(data))
        kind = _CLASSES[cast("str", plain.pop("kind"))]
        restore = _RESTORED.get(kind)
        if restore is not None:
            restore(plain)
        return kind(event_id=number, **plain)  # pyright: ignore[reportArgumentType] # JSON data, checked by the constructor's names
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"event {number} cannot be decoded: {error!r}") from error


def _restore_details(plain: dict[str, object]) -> None:
    plain["details"] = details_from_plain(cast("Mapping[str, object]", plain["details"]))


def _restore_keys(plain: dict[str, object]) -> None:
    plain["keys"] = tuple(cast("list[str]", plain["keys"]))


def _restore_start(plain: dict[str, object]) -> None:
    plain.setdefault("format", FIRST_FORMAT)
    plain["seen"] = tuple(cast("list[str]", plain.get("seen", [])))
    for name, make in _RECORDS_OF_START.items():
        if name in plain:
            plain[name] = make(**cast("dict[str, Any]", plain[name]))
    for name, make in _LISTS_OF_START.items():
        if name in plain:
            items = cast("list[dict[str, Any]]", plain[name])
            plain[name] = tuple(make(**each) for each in items)


_RESTORED: Mapping[type[Event], Callable[[dict[str, object]], None]] = {
    **{kind: _restore_details for kind, names in _FIELDS.items() if "details" in names},
    OrchestrationStarted: _restore_start,
    ValuesListed: _restore_keys,
}
"""What makes values of JSON the values of fields, for events where it is not the same."""


def _in_words(name: str, value: object) -> str:
    if name in ("fire_at", "start_at"):
        return f"{to_datetime(cast('Instant', value)):%Y-%m-%d %H:%M:%S.%f}"
    if isinstance(value, str | bytes | int | None):
        text = repr(value)
    elif hasattr(value, "display_message"):
        text = repr(cast("ErrorDetails", value).display_message())
    else:
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
