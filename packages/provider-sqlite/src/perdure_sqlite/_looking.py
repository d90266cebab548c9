"""Looking for work without taking it: what stands first on each shelf.

One index step per shelf answers whether there is work for a caller now, and if not, when to look
again. Lease calls and waiters both begin with it. What a look costs is bounded by what the caller
serves, and by the queues that there are, whichever is less: never by what is or was stored. Only
a look for what nobody serves goes through all queues.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol, TypeVar

from perdure.contract import Instant, Serves

from perdure_sqlite._shelves import ALWAYS, DUE, HELD, NOW, REACH
from perdure_sqlite._sql.activities import ACTIVITY_HEADS, ACTIVITY_HEADS_OF
from perdure_sqlite._sql.instances import TURN_HEADS, TURN_HEADS_OF

_ALL = -1
"""No limit to the queues."""


class Reader(Protocol):
    """What can look: a session, or a connection for reading."""

    @property
    def execute(self) -> Callable[..., sqlite3.Cursor]:
        """Run a statement."""
        ...

    @property
    def namespace(self) -> int:
        """The number of the namespace."""
        ...


@dataclass(slots=True)
class Head:
    """The ends of a queue's shelves."""

    queue: int
    first_now: Instant | None
    first_due: Instant | None
    first_held: Instant | None
    last_held: Instant | None

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands on any shelf."""
        return self.first_now is None and self.first_due is None and self.first_held is None

    @property
    def first(self) -> Instant:
        """The first `ready_at` on any shelf."""
        firsts = (self.first_now, self.first_due, self.first_held)
        return min((at for at in firsts if at is not None), default=ALWAYS)

    def is_ready(self, now: Instant) -> bool:
        """Whether there may be something to take."""
        return self.next_change(now) <= now

    def next_change(self, now: Instant) -> Instant:
        """When there may be something to take: not after now, if it is there already."""
        if self.first_now is not None or self._has_void_holds(now):
            return now
        return min(
            ALWAYS if self.first_due is None else self.first_due,
            ALWAYS if self.first_held is None else self.first_held,
        )

    def spans(self, now: Instant, latest: Instant | None) -> Iterator[tuple[int, Instant, Instant]]:
        """The shelves to look at: kind, and between which instants of `ready_at`.

        With `latest`, only what may have been visible since then.
        """
        if self.first_now is not None:
            yield NOW, -1, ALWAYS if latest is None else latest
        if self.first_due is not None and self.first_due <= now:
            yield DUE, -1, now if latest is None else latest
        if self.first_held is not None and self.first_held <= now:
            yield HELD, -1, now
        if self._has_void_holds(now):
            yield HELD, now + REACH, ALWAYS

    def _has_void_holds(self, now: Instant) -> bool:
        return self.last_held is not None and self.last_held > now + REACH


@dataclass(slots=True)
class TurnHead(Head):
    """A queue of instances."""

    name: str
    version: str | None
    engine: int

    def is_served(self, serves: Serves) -> bool:
        """Whether the caller can run its instances."""
        return self.engine <= serves.engine and serves.accepts(self.name, self.version)


@dataclass(slots=True)
class ActivityHead(Head):
    """A queue of activities."""

    name: str
    tag: str | None

    def is_served(self, names: frozenset[str], tags: frozenset[str | None]) -> bool:
        """Whether the caller can run its activities."""
        return self.name in names and self.tag in tags


AnyHead = TypeVar("AnyHead", bound=Head)


def turn_heads(reader: Reader) -> list[TurnHead]:
    """All queues of instances, those on which nothing stands included."""
    return [TurnHead(*row) for row in reader.execute(TURN_HEADS, (reader.namespace, _ALL))]


def served_turn_heads(reader: Reader, serves: Serves) -> list[TurnHead]:
    """The queues of the instances that the caller can run."""
    most = sum(map(len, serves.orchestrations.values()), len(serves.orchestrations))
    rows = reader.execute(TURN_HEADS, (reader.namespace, most + 1)).fetchall()
    if len(rows) > most:
        rows = [
            row
            for name, versions in serves.orchestrations.items()
            for version in (None, *versions)
            for row in reader.execute(
                TURN_HEADS_OF, (reader.namespace, name, version, serves.engine)
            )
        ]
    return [head for row in rows if (head := TurnHead(*row)).is_served(serves)]


def activity_heads(reader: Reader) -> list[ActivityHead]:
    """All queues of activities, those on which nothing stands included."""
    return [ActivityHead(*row) for row in reader.execute(ACTIVITY_HEADS, (reader.namespace, _ALL))]


def served_activity_heads(
    reader: Reader, names: frozenset[str], tags: frozenset[str | None]
) -> list[ActivityHead]:
    """The queues of the activities that the caller can run."""
    most = len(names) * len(tags)
    rows = reader.execute(ACTIVITY_HEADS, (reader.namespace, most + 1)).fetchall()
    if len(rows) > most:
        rows = [
            row
            for name in names
            for tag in tags
            for row in reader.execute(ACTIVITY_HEADS_OF, (reader.namespace, name, tag))
        ]
    return [head for row in rows if (head := ActivityHead(*row)).is_served(names, tags)]


def in_parts(heads: Iterable[AnyHead], size: int, now: Instant) -> Iterator[list[AnyHead]]:
    """The queues that may have something to take, so many at a time, the oldest first.

    The oldest `size` rows stand in the first part, since no queue of a later one has an older.
    """
    ready = sorted((head for head in heads if head.is_ready(now)), key=attrgetter("first"))
    for begin in range(0, len(ready), size):
        yield ready[begin : begin + size]


def next_turn(reader: Reader, serves: Serves, now: Instant) -> Instant:
    """When there may be an instance to lease."""
    return _earliest(served_turn_heads(reader, serves), now)


def next_activity(
    reader: Reader, names: frozenset[str], tags: frozenset[str | None], now: Instant
) -> Instant:
    """When there may be an activity to lease."""
    return _earliest(served_activity_heads(reader, names, tags), now)


def _earliest(heads: Iterable[Head], now: Instant) -> Instant:
    return min((head.next_change(now) for head in heads), default=ALWAYS)
