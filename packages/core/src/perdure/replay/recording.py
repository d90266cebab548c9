"""The recorded history of a replay, and how much of it the code has repeated.

The commands that follow one delivery are a run. Within a run, a request gets the command that is
due. If the order has no visible effect, it may get a later one:

- Cancellations commute with everything, because they ask for nothing new. Those of nested scopes
  happen in the order of addresses, which differs from run to run.
- A patch has no effect of its own. Code without the call agrees with one that is deprecated.
- The refusal of an event is made by the engine, and belongs to that event.
- Consecutive requests of the same kind, name and id are told apart by their values, so that each
  gets the result that it had before, in any order.

All other requests are matched in order, and the transcript judges the differences.

The history is read as far as the replay has come: up to the next incoming event, because a request
may get any command before it. What was taken is let go, so that a long history is never in memory
as objects, which the garbage collector would look at again and again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import TypeAlias, cast

from perdure.history import (
    INCOMING,
    TERMINAL,
    ChildScheduled,
    DetachedScheduled,
    Event,
    EventRefused,
    EventSent,
    PatchApplied,
    WorkCancelled,
)
from perdure.replay.comparing import hidden_alike, identity, own_fields, same_request

_Addressed: TypeAlias = ChildScheduled | DetachedScheduled | EventSent
"""Commands that name another instance."""
_INCOMING = frozenset(INCOMING)
_MOST_READ = 100
"""How many events are read at once."""
_ALL_READ = 1 << 62
_DEFAULT_ID = object()
"""Stands for the default id, which is made of the event's number."""


class Recording:
    """The events of a history: incoming ones in order, and commands as the code asks for them."""

    __slots__ = (
        "_adopts_ids",
        "_child_id",
        "_cursor",
        "_events",
        "_passed",
        "_read",
        "_run",
        "_runs_read",
        "_source",
        "_taken",
        "agreed",
        "kept",
    )

    def __init__(
        self,
        events: Iterable[Event],
        child_id: Callable[[int], str],
        *,
        keeps: bool = False,
        adopts_ids: bool = False,
    ) -> None:
        self._source = iter(events)
        self._events: dict[int, Event] = {}
        """Those that were read and not taken, by their index."""
        self._read: int = 0
        """How many were read."""
        self._runs_read: int = 0
        """How many incoming events of them are not taken; after the last one, one more."""
        self.kept: list[Event] | None = [] if keeps else None
        """All that were read, as they were taken; None where they are let go."""
        self._child_id = child_id
        """Makes the default id of a child from the number of its event."""
        self._adopts_ids = adopts_ids
        """Whether the ids of other instances are those of the requests, which replace the recorded ones."""
        self._cursor: int = 0
        """The index of the first event that was not taken."""
        self._taken: set[int] = set()
        """Indexes behind the cursor that were taken out of order."""
        self._run: _Run | None = None
        self._passed: set[str] = set()
        """The names of the deprecated patches that were passed since the last delivery, because the
        code did not ask for them."""
        self.agreed = True
        """Whether the command that was taken last agrees with its request in every value."""

    @property
    def due(self) -> Event | None:
        """The first event that was not taken; None at the end."""
        return self._events.get(self._cursor)

    @property
    def number_due(self) -> int:
        """The number of the due event in a history without gaps."""
        return self._cursor + 1

    def read_on(self) -> bool:
        """Read up to the incoming event behind the next one; True if more is to be read first.

        For between two deliveries. Reads a part at a time, because a run may be long.
        """
        if self._runs_read > 1:
            return False
        events, place, kept = self._events, self._read, self.kept
        for event in islice(self._source, _MOST_READ):
            events[place] = event
            if kept is not None:
                kept.append(event)
            place += 1
            if type(event) in _INCOMING:
                self._runs_read += 1
                if self._runs_read > 1:
                    break
        else:
            if place < self._read + _MOST_READ:
                self._runs_read = _ALL_READ
        self._read = place
        return self._runs_read <= 1

    def take_due(self) -> None:
        """Take the due event, and begin a new run."""
        self._run = None
        self._runs_read -= 1
        if self._passed:
            self._passed.clear()
        self._take(self._cursor)

    def take(self, kind: type[Event], asked: Mapping[str, object], number: int) -> Event | None:
        """The recorded command for a request; None if the history has none.

        `number` is the number that the request would get as the next event.
        """
        if self._adopts_ids and "instance" in asked:
            return self._take_with_id(kind, asked, number)
        place = self._cursor
        due = self._events.get(place)
        self.agreed = due is not None and type(due) is kind and _equal(due, asked)
        if due is not None and self.agreed:
            self._take(place)
            return due
        place = self._find(kind, asked, number)
        return None if place is None else self._take(place)

    def take_refusal(self, event: int) -> bool:
        """Take the refusal of an external event; returns False if the history has none."""
        due = self.due
        if isinstance(due, EventRefused) and due.event == event:
            self._take(self._cursor)
            return True
        # Commands may have been taken out of order, so the refusal may not be due.
        place = None if self._run is None else self._run.place((EventRefused, event), self._is_open)
        if place is None:
            return False
        self._take(place)
        return True

    def take_patch(self, name: str) -> bool:
        """Take the patch of this name; returns False if the step has none."""
        if name in self._passed:
            return True
        place = self._open_run().place((PatchApplied, name), self._is_open)
        if place is None:
            return False
        self._take(place)
        return True

    def at_odds(self, kind: type[Event]) -> Event | None:
        """The recorded event that a request of this kind disagrees with, after `take` returned None."""
        if kind is WorkCancelled or kind in TERMINAL:
            return self.due
        first = self._open_run().first(self._is_open)
        return self.due if first is None else self._events[first]

    def _find(self, kind: type[Event], asked: Mapping[str, object], number: int) -> int | None:
        run = self._open_run()
        if kind is WorkCancelled:
            return run.place((WorkCancelled, asked["scheduled"]), self._is_open)
        first = run.first(self._is_open)
        if first is None or (kind in TERMINAL and first != self._cursor):
            return None
        event = self._events[first]
        values = dict(asked)
        if "instance" in asked and asked["instance"] == self._child_id(number):
            asked = {**asked, "instance": self._child_id(event.event_id)}
            values["instance"] = _DEFAULT_ID
        if type(event) is not kind or not same_request(event, asked):
            return None
        if kind in TERMINAL:
            return first
        values = hidden_alike(event, values)
        exact = run.place((run.group(first), *_in_order(kind, values)), self._is_open)
        return first if exact is None else exact

    def _take_with_id(
        self, kind: type[Event], asked: Mapping[str, object], number: int
    ) -> Event | None:
        """Take the first open request if all but its id agrees, and give it the id that is asked for."""
        place = self._open_run().first(self._is_open)
        event = None if place is None else self._events[place]
        if place is None or event is None or type(event) is not kind:
            return None
        if cast("_Addressed", event).name != asked["name"]:
            return None
        is_default = asked["instance"] == self._child_id(number)
        instance = self._child_id(event.event_id) if is_default else asked["instance"]
        adopted = replace(cast("_Addressed", event), instance=cast("str", instance))
        if self.kept is not None:
            self.kept[place] = adopted
        self.agreed = _equal(adopted, asked)
        self._take(place)
        return adopted

    def _open_run(self) -> _Run:
        if self._run is None:
            self._run = _Run(self._events, self._cursor, self._read, self._child_id)
        return self._run

    def _is_open(self, place: int) -> bool:
        return place >= self._cursor and place not in self._taken

    def _take(self, place: int) -> Event:
        event = self._events.pop(place)
        if place != self._cursor:
            self._taken.add(place)
            return event
        self._cursor += 1
        while True:
            if self._taken and self._cursor in self._taken:
                self._taken.remove(self._cursor)
            elif type(after := self._events.get(self._cursor)) is PatchApplied and after.deprecated:
                self._passed.add(after.name)
                del self._events[self._cursor]
            else:
                return event
            self._cursor += 1


class _Run:
    """The commands from an index up to the next incoming event, by request.

    It is built when a request does not agree with the due command. A look-up is cheap, because a run
    may have thousands of commands.
    """

    def __init__(
        self,
        events: Mapping[int, Event],
        start: int,
        end: int,
        child_id: Callable[[int], str],
    ) -> None:
        self._requests: deque[int] = deque()
        """The indexes of all commands but cancellations, refusals and patches, in order."""
        self._groups: dict[int, int] = {}
        """The group of each index: consecutive commands for the same request are a group."""
        self._places: dict[tuple[object, ...], deque[int]] = {}
        before: object = None
        group = 0
        for place in range(start, end):
            event = events.get(place)
            if event is None:
                continue  # taken before
            if isinstance(event, INCOMING):
                break
            if isinstance(event, WorkCancelled | EventRefused):
                which = event.scheduled if isinstance(event, WorkCancelled) else event.event
                self._places.setdefault((type(event), which), deque()).append(place)
                continue
            if isinstance(event, PatchApplied):
                self._places.setdefault((PatchApplied, event.name), deque()).append(place)
                continue
            values = _values(event, child_id)
            request = (type(event), identity(type(event), values))
            group += request != before
            before = request
            self._requests.append(place)
            self._groups[place] = group
            if not isinstance(event, TERMINAL):
                key = (group, *_in_order(type(event), values))
                self._places.setdefault(key, deque()).append(place)

    def first(self, is_open: Callable[[int], bool]) -> int | None:
        """The index of the first open request."""
        while self._requests and not is_open(self._requests[0]):
            self._requests.popleft()
        return self._requests[0] if self._requests else None

    def place(self, key: tuple[object, ...], is_open: Callable[[int], bool]) -> int | None:
        """The index of the first open command that agrees in all values."""
        places = self._places.get(key)
        while places and not is_open(places[0]):
            places.popleft()
        return places[0] if places else None

    def group(self, place: int) -> int:
        """The group of the request at this index."""
        return self._groups[place]


def _equal(event: Event, asked: Mapping[str, object]) -> bool:
    for name, value in asked.items():  # noqa: SIM110 # a generator is slower, on the hot path
        if getattr(event, name) != value:
            return False
    return True


def _values(event: Event, child_id: Callable[[int], str]) -> dict[str, object]:
    values = {name: getattr(event, name) for name in own_fields(type(event))}
    if "instance" in values and values["instance"] == child_id(event.event_id):
        values["instance"] = _DEFAULT_ID
    return values


def _in_order(kind: type[Event], values: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(values.get(name) for name in own_fields(kind))
