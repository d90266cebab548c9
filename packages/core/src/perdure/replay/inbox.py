"""External events and the waits for them: each event goes to exactly one wait, in order.

An event that nobody waits for is kept; a wait takes the oldest kept event of its name. An event
is dropped when this execution had its id before, or an earlier one handed it to a wait. What a
wait was handed is consumed, whether or not anybody looks at the future.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.history import EventRaised
from perdure.replay.futures import ScheduledFuture

MOST_SEEN = 1000
"""How many ids of delivered events the next execution is told."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Somebody waits for an event of this name."""

    name: str
    future: ScheduledFuture[Any]
    result_type: object


class EventInbox:
    """Holds the events and the waits of one execution; settles nothing itself."""

    __slots__ = ("_delivered", "_ids", "_kept", "_names", "_waits")

    def __init__(self, seen: Sequence[str]) -> None:
        self._ids = set(seen)
        self._delivered = list(seen)
        self._names: dict[int, str] = {}
        self._waits: dict[str, OrderedDict[int, Wait]] = {}
        self._kept: dict[str, deque[EventRaised]] = {}

    def knows(self, event_id: str) -> bool:
        """Whether the event came before."""
        return event_id in self._ids

    def add_event(self, event: EventRaised) -> Wait | None:
        """The wait that gets the event, or None: it is kept."""
        self._ids.add(event.message_id)
        waits = self._waits.get(event.name)
        if not waits:
            self._kept.setdefault(event.name, deque()).append(event)
            return None
        number, wait = waits.popitem(last=False)
        if not waits:
            del self._waits[event.name]
        del self._names[number]
        self._delivered.append(event.message_id)
        return wait

    def add_wait(self, number: int, wait: Wait) -> EventRaised | None:
        """The kept event that the wait gets, or None: it waits."""
        kept = self._kept.get(wait.name)
        if not kept:
            self._waits.setdefault(wait.name, OrderedDict())[number] = wait
            self._names[number] = wait.name
            return None
        event = kept.popleft()
        if not kept:
            del self._kept[wait.name]
        self._delivered.append(event.message_id)
        return event

    def remove_wait(self, number: int) -> bool:
        """Forget a wait; False where there is none under this number."""
        name = self._names.pop(number, None)
        if name is None:
            return False
        waits = self._waits[name]
        del waits[number]
        if not waits:
            del self._waits[name]
        return True

    def waits(self) -> Iterator[Wait]:
        """Those that no event has come for."""
        for waits in self._waits.values():
            yield from waits.values()

    @property
    def has_waits(self) -> bool:
        """Whether an event could go to somebody."""
        return bool(self._names)

    def delivered(self) -> Sequence[str]:
        """Ids of events that were handed to waits, the newest last, at most `MOST_SEEN`."""
        return self._delivered[-MOST_SEEN:]

    def unread(self) -> Sequence[EventRaised]:
        """The kept events, in the order in which they came."""
        kept = (event for events in self._kept.values() for event in events)
        return sorted(kept, key=lambda event: event.event_id)
