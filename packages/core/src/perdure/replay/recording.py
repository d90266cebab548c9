"""The history that a replay is held to, and how far the code has come in it.

What one delivery brought about is a run of commands. Within a run a request is answered by the
command that is due, and where order has no effect that anybody could see, by another:

- Cancellations commute with everything: they ask for nothing new. Those of nested scopes come
  in the order of addresses, which differs from run to run.
- A refusal of an event is the engine's, and stands with its event.
- Requests for the same thing (of one kind, name and id) that follow one another are told apart
  by their values, so that each gets the answer that it got before, in whatever order they come.

Whatever is left is answered in order, and what differs then is for the transcript to judge.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from perdure.history import (
    INCOMING,
    TERMINAL,
    Event,
    EventRefused,
    WorkCancelled,
)
from perdure.replay.comparing import identity, own_fields, same_request

_DEFAULT_ID = object()
"""Stands for the id that is made of the number of the event."""


class Recording:
    """Hands out the events of a history: what came in, in order, and commands as they are asked for."""

    __slots__ = ("_child_id", "_cursor", "_events", "_run", "_taken", "agreed")

    def __init__(self, events: Sequence[Event], child_id: Callable[[int], str]) -> None:
        self._events = events
        self._child_id = child_id
        """Makes the default id of a child of the number of its event."""
        self._cursor = 0
        """The place of the first event that nothing took."""
        self._taken: set[int] = set()
        """Places behind the cursor that were taken out of order."""
        self._run: _Run | None = None
        self.agreed = True
        """Whether the command that was taken last agrees with its request in everything."""

    @property
    def due(self) -> Event | None:
        """The first event that nothing took; None at the end."""
        return self._events[self._cursor] if self._cursor < len(self._events) else None

    @property
    def number_due(self) -> int:
        """The number that the event which is due has in a history without gaps."""
        return self._cursor + 1

    def take_due(self) -> None:
        """Go past the event that is due; what it brings about begins a new run."""
        self._run = None
        self._take(self._cursor)

    def take(self, kind: type[Event], asked: Mapping[str, object], number: int) -> Event | None:
        """The recorded command that a request stands for; None where the history has none.

        `number` is the one that the request would have as the next event.
        """
        due = self.due
        self.agreed = due is not None and type(due) is kind and _equal(due, asked)
        place = self._cursor if self.agreed else self._find(kind, asked, number)
        if place is None:
            return None
        self._take(place)
        return self._events[place]

    def take_refusal(self, event: int) -> bool:
        """Take the refusal of an external event; False where the history has none."""
        due = self.due
        if isinstance(due, EventRefused) and due.event == event:
            self._take(self._cursor)
            return True
        # As long as all came in order, it would be due.
        place = None if self._run is None else self._run.place((EventRefused, event), self._is_open)
        if place is None:
            return False
        self._take(place)
        return True

    def at_odds(self, kind: type[Event]) -> Event | None:
        """What a request of this kind is at odds with, where `take` found nothing."""
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
        exact = run.place((run.group(first), *_in_order(kind, values)), self._is_open)
        return first if exact is None else exact

    def _open_run(self) -> _Run:
        if self._run is None:
            self._run = _Run(self._events, self._cursor, self._child_id)
        return self._run

    def _is_open(self, place: int) -> bool:
        return place >= self._cursor and place not in self._taken

    def _take(self, place: int) -> None:
        if place != self._cursor:
            self._taken.add(place)
            return
        self._cursor += 1
        while self._taken and self._cursor in self._taken:
            self._taken.remove(self._cursor)
            self._cursor += 1


class _Run:
    """The commands from a place up to the next event that came in, by what they ask for.

    Made where a request does not simply agree with what is due; each look-up is cheap, for a run
    may have thousands of commands.
    """

    def __init__(self, events: Sequence[Event], start: int, child_id: Callable[[int], str]) -> None:
        self._requests: deque[int] = deque()
        """The places of all but cancellations and refusals, in order."""
        self._groups: dict[int, int] = {}
        """By place: requests for the same thing that follow one another are a group."""
        self._places: dict[tuple[object, ...], deque[int]] = {}
        before: object = None
        group = 0
        for place in range(start, len(events)):
            event = events[place]
            if isinstance(event, INCOMING):
                break
            if isinstance(event, WorkCancelled | EventRefused):
                which = event.scheduled if isinstance(event, WorkCancelled) else event.event
                self._places.setdefault((type(event), which), deque()).append(place)
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
        """The place of the first request that is open."""
        while self._requests and not is_open(self._requests[0]):
            self._requests.popleft()
        return self._requests[0] if self._requests else None

    def place(self, key: tuple[object, ...], is_open: Callable[[int], bool]) -> int | None:
        """The first open place of what agrees in all its values."""
        places = self._places.get(key)
        while places and not is_open(places[0]):
            places.popleft()
        return places[0] if places else None

    def group(self, place: int) -> int:
        """The group that the request at this place belongs to."""
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
