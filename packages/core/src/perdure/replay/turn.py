"""What one turn brings about, as plain records of the contract."""

from __future__ import annotations

from dataclasses import dataclass, field

from perdure.history import Event
from perdure.model.wire import ActivityData
from perdure.records.instances import Message
from perdure.records.turns import ExecutionEnd, NewChild


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfitEvent:
    """An external event that does not fit the wait that it came to."""

    name: str
    event_id: str
    """The id under which it was raised."""
    reason: str


@dataclass(slots=True)
class DraftActivity:
    """An activity that a turn adds. The commit encodes `data`; a process that begins the activity
    itself calls the function with it as it is."""

    id: str
    name: str
    tag: str | None
    data: ActivityData
    is_direct: bool = False
    """Whether the commit adds it already leased, to begin in this process."""


@dataclass(slots=True)
class TurnDraft:
    """Collects the effects of a turn while it runs. What is undone in the same turn never shows."""

    events: list[Event] = field(default_factory=list[Event])
    activities: dict[int, DraftActivity] = field(default_factory=dict[int, DraftActivity])
    """Added activities by the number of their schedule event."""
    timers: dict[int, Message] = field(default_factory=dict[int, Message])
    children: dict[int, NewChild] = field(default_factory=dict[int, NewChild])
    detached: list[NewChild] = field(default_factory=list[NewChild])
    cancelled_activities: list[str] = field(default_factory=list[str])
    ending_activities: list[str] = field(default_factory=list[str])
    """Ids of those that are asked to end, and whose outcome is still wanted."""
    removed: list[str] = field(default_factory=list[str])
    """Ids of timer messages that are not wanted any more."""
    sent: list[Message] = field(default_factory=list[Message])
    front: list[Message] = field(default_factory=list[Message])
    unawaited: list[str] = field(default_factory=list[str])
    """Work that the end drops and that nothing has awaited, in words, for the log."""
    dropped: list[str] = field(default_factory=list[str])
    """The same, of work whose outcome was to be waited for."""
    unfit: list[UnfitEvent] = field(default_factory=list[UnfitEvent])
    """Events that were refused, to be told of."""
    end: ExecutionEnd | None = None
    version: str | None = None
    unpin: bool = False
