"""The events of a history, in order: what came in, and what the orchestration asked for.

The engine delivers an incoming event (`INCOMING`) to the orchestration; the commands that the
orchestration then gives follow it. One terminal event ends the history. Events are numbered
from 1; the number stands beside the encoded event, not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final, TypeAlias, cast

from pydantic_core import from_json, to_json

from perdure.clock import Instant, to_datetime
from perdure.model.details import ErrorDetails, details_from_plain, details_to_plain
from perdure.records.instances import ParentLink

FORMAT: Final = 2
"""The format of new histories."""
FIRST_FORMAT: Final = 1
"""The format of version 0.1.0."""


@dataclass(frozen=True, slots=True, kw_only=True)
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
        own = [field.name for field in fields(self) if field.name not in ("event_id", "at")]
        shown = ", ".join(f"{name}={_shorten(getattr(self, name))}" for name in own)
        return f"{self.event_id:>4}  {self.time:%H:%M:%S.%f}  {self.kind}({shown})"


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityScheduled(HistoryEvent):
    """The orchestration asked for an activity."""

    name: str
    input: str
    attempt: int = 1
    tag: str | None = None
    retry: str | None = None
    """The retry policy as JSON text, at the first attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityCompleted(HistoryEvent):
    """An activity returned."""

    scheduled: int
    """The number of the schedule event."""
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityFailed(HistoryEvent):
    """An activity raised."""

    scheduled: int
    details: ErrorDetails


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerCreated(HistoryEvent):
    """The orchestration set a timer, or the engine did so on its behalf."""

    fire_at: Instant
    purpose: str = "sleep"
    """`sleep`, or `cleanup` for the limit that a cancellation sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimerFired(HistoryEvent):
    """A timer fired."""

    scheduled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitCreated(HistoryEvent):
    """The orchestration began to wait for an external event."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRaised(HistoryEvent):
    """An external event came in."""

    name: str
    data: str
    message_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRefused(HistoryEvent):
    """An external event did not fit its wait: the event is consumed, and the wait goes on."""

    event: int
    """The number of its `EventRaised`."""
    wait: int
    """The number of the `WaitCreated`."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildScheduled(HistoryEvent):
    """The orchestration asked for a child."""

    instance: str
    name: str
    input: str
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCompleted(HistoryEvent):
    """A child ended with a result."""

    scheduled: int
    result: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFailed(HistoryEvent):
    """A child failed."""

    scheduled: int
    details: ErrorDetails


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildRefused(HistoryEvent):
    """A child could not be started: its id was in use."""

    scheduled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetachedScheduled(HistoryEvent):
    """The orchestration started another one, without waiting for it."""

    instance: str
    name: str
    input: str
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkCancelled(HistoryEvent):
    """The orchestration cancelled work that it had scheduled."""

    scheduled: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchApplied(HistoryEvent):
    """The execution took the path of a patch, where it came to the patch first."""

    name: str
    deprecated: bool = False
    """Whether only `deprecate_patch` asked for it: code without the call agrees too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested(HistoryEvent):
    """A client or a parent requested the cancellation of the instance."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationCompleted(HistoryEvent):
    """Terminal: the orchestration returned."""

    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationFailed(HistoryEvent):
    """Terminal: the orchestration raised, was cancelled or was ended."""

    details: ErrorDetails


@dataclass(frozen=True, slots=True, kw_only=True)
class OrchestrationContinuedAsNew(HistoryEvent):
    """Terminal: the next execution begins with this input."""

    input: str
    version: str | None = None


INCOMING = (
    OrchestrationStarted,
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
    )
}
_FIELDS: Mapping[type[Event], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind) if field.name != "event_id")
    for kind in _CLASSES.values()
}


def encode_event(event: Event) -> bytes:
    """The event as bytes of JSON, without its number."""
    plain: dict[str, object] = {"kind": type(event).__name__}
    for name in _FIELDS[type(event)]:
        value = getattr(event, name)
        if value is not None:
            plain[name] = value
    if "details" in plain:
        plain["details"] = details_to_plain(cast("ErrorDetails", plain["details"]))
    return to_json(plain)


def decode_event(number: int, data: bytes) -> Event:
    """The event that `encode_event` encoded; raises ValueError if the data is no event."""
    try:
        plain = cast("dict[str, object]", from_json(data))
        kind = _CLASSES[cast("str", plain.pop("kind"))]
        if "details" in plain:
            plain["details"] = details_from_plain(cast("Mapping[str, object]", plain["details"]))
        if kind is OrchestrationStarted:
            _restore_start(plain)
        return kind(event_id=number, **plain)  # pyright: ignore[reportArgumentType] # JSON data, checked by the constructor's names
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"event {number} cannot be decoded: {error!r}") from error


def _restore_start(plain: dict[str, object]) -> None:
    plain.setdefault("format", FIRST_FORMAT)
    plain["seen"] = tuple(cast("list[str]", plain.get("seen", [])))
    if "parent" in plain:
        plain["parent"] = ParentLink(**cast("dict[str, str]", plain["parent"]))  # pyright: ignore[reportArgumentType] # JSON data


def _shorten(value: object) -> str:
    if isinstance(value, str | bytes | int | None):
        text = repr(value)
    elif hasattr(value, "display_message"):
        text = repr(cast("ErrorDetails", value).display_message())
    else:
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
