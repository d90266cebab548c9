"""External events and the waits for them: each event goes to exactly one wait, in order.

An event without a wait is kept, and a wait takes the oldest kept event of its name. An event is
dropped if this execution has had its id, or an earlier one handed it to a wait. An event that was
handed to a wait is consumed, even if the future is never awaited or the event does not fit: it is
not offered to another wait.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Any

from perdure.history import EventRaised
from perdure.model.record import record
from perdure.replay.futures import ScheduledFuture

MOST_SEEN = 1000
"""How many ids of delivered events the next execution gets."""


@record(kw_only=False)
class Wait:
    """A wait for an event of this name."""

    number: int
    """The number of its schedule event."""
    name: str
    future: ScheduledFuture[Any]
    result_type: object
    raises: bool = False
    """Whether an event that does not fit raises; otherwise the wait continues."""


class EventInbox:
    """The events and the waits of one execution; it settles no futures itself."""

    __slots__ = ("_delivered", "_ids", "_kept", "_names", "_waits")

    def __init__(self, seen: Sequence[str]) -> None:
        self._ids = set(seen)
        self._delivered = list(seen)
        self._names: dict[int, str] = {}
        self._waits: dict[str, OrderedDict[int, Wait]] = {}
        self._kept: dict[str, deque[EventRaised]] = {}

    def knows(self, event_id: str) -> bool:
        """Whether the event has arrived before."""
        return event_id in self._ids

    def add_event(self, event: EventRaised) -> Wait | None:
        """Add an event; returns the wait that consumes it, or None if the event is kept.

        The wait stays in the inbox until `remove_wait`.
        """
        self._ids.add(event.message_id)
        waits = self._waits.get(event.name)
        if not waits:
            self._kept.setdefault(event.name, deque()).append(event)
            return None
        self._delivered.append(event.message_id)
        return next(iter(waits.values()))

    def take_kept(self, name: str) -> EventRaised | None:
        """Consume the oldest kept event of this name; returns None if there is none."""
        kept = self._kept.get(name)
        if not kept:
            return None
        event = kept.popleft()
        if not kept:
            del self._kept[name]
        self._delivered.append(event.message_id)
        return event

    def add_wait(self, wait: Wait) -> None:
        """Add a wait for which no event is kept."""
        self._waits.setdefault(wait.name, OrderedDict())[wait.number] = wait
        self._names[wait.number] = wait.name

    def remove_wait(self, number: int) -> bool:
        """Remove a wait; returns False if there is none with this number."""
        name = self._names.pop(number, None)
        if name is None:
            return False
        waits = self._waits[name]
        del waits[number]
        if not waits:
            del self._waits[name]
        return True

    def waits(self) -> Iterator[Wait]:
        """The open waits."""
        for waits in self._waits.values():
            yield from waits.values()

    @property
    def has_waits(self) -> bool:
        """Whether there is an open wait."""
        return bool(self._names)

    def delivered(self) -> Sequence[str]:
        """Ids of events that were handed to waits, the newest last, at most `MOST_SEEN`."""
        return self._delivered[-MOST_SEEN:]

    def unread(self) -> Sequence[EventRaised]:
        """The kept events, in the order in which they arrived."""
        kept = (event for events in self._kept.values() for event in events)
        return sorted(kept, key=lambda event: event.event_id)
