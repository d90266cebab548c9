"""Queue heads: the first row of each bucket of a queue.

They tell with one index step per bucket whether there is work for a caller now and, if not, when to
look again. Lease calls and waits both start with them. The cost is bounded by the number of queues
or by what the caller registers, whichever is less, and never by what is stored. Only a look for
unregistered work reads the heads of all queues.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol, TypeVar

from perdure.contract import FARTHEST_END, Instant, Serves

from perdure_sqlite._schema.ready_index import ALWAYS, HIDDEN, READY, SCHEDULED
from perdure_sqlite._sql.activities import ACTIVITY_HEADS, ACTIVITY_HEADS_OF
from perdure_sqlite._sql.instances import TURN_HEADS, TURN_HEADS_OF

_ALL = -1
"""No limit to the queues."""


class Connection(Protocol):
    """Runs statements: a transaction, or the connection for reading."""

    @property
    def execute(self) -> Callable[..., sqlite3.Cursor]:
        """Run a statement."""
        ...

    @property
    def namespace(self) -> int:
        """The number of the namespace."""
        ...


@dataclass(slots=True)
class QueueHead:
    """The first rows of a queue's buckets, and the last of HIDDEN."""

    queue: int
    first_ready: Instant | None
    first_scheduled: Instant | None
    first_hidden: Instant | None
    last_hidden: Instant | None

    @property
    def is_empty(self) -> bool:
        """Whether all buckets are empty."""
        return (
            self.first_ready is None and self.first_scheduled is None and self.first_hidden is None
        )

    @property
    def first(self) -> Instant:
        """The first `ready_at` of any bucket."""
        firsts = (self.first_ready, self.first_scheduled, self.first_hidden)
        return min((at for at in firsts if at is not None), default=ALWAYS)

    def is_ready(self, now: Instant) -> bool:
        """Whether there may be a row to lease."""
        return self.next_change(now) <= now

    def next_change(self, now: Instant) -> Instant:
        """When there may be a row to lease; `now` if there may be one already."""
        if self.first_ready is not None or self._has_void_ends(now):
            return now
        return min(
            ALWAYS if self.first_scheduled is None else self.first_scheduled,
            ALWAYS if self.first_hidden is None else self.first_hidden,
        )

    def spans(self, now: Instant, latest: Instant | None) -> Iterator[tuple[int, Instant, Instant]]:
        """The buckets to read: kind, and `ready_at` above the first and up to the second instant.

        With `latest`, only rows that may have been ready since then.
        """
        if self.first_ready is not None:
            yield READY, -1, ALWAYS if latest is None else latest
        if self.first_scheduled is not None and self.first_scheduled <= now:
            yield SCHEDULED, -1, now if latest is None else latest
        if self.first_hidden is not None and self.first_hidden <= now:
            yield HIDDEN, -1, now
        if self._has_void_ends(now):
            yield HIDDEN, now + FARTHEST_END, ALWAYS

    def _has_void_ends(self, now: Instant) -> bool:
        return self.last_hidden is not None and self.last_hidden > now + FARTHEST_END


@dataclass(slots=True)
class TurnQueueHead(QueueHead):
    """A queue of instances."""

    name: str
    version: str | None
    engine: int

    def is_registered(self, serves: Serves) -> bool:
        """Whether the caller registers their name and version, and knows their engine."""
        return self.engine <= serves.engine and serves.accepts(self.name, self.version)


@dataclass(slots=True)
class ActivityQueueHead(QueueHead):
    """A queue of activities."""

    name: str
    tag: str | None

    def is_registered(self, names: frozenset[str], tags: frozenset[str | None]) -> bool:
        """Whether the caller registers their name and runs their tag."""
        return self.name in names and self.tag in tags


AnyQueueHead = TypeVar("AnyQueueHead", bound=QueueHead)


def turn_heads(connection: Connection) -> list[TurnQueueHead]:
    """All queues of instances, empty ones included."""
    return [
        TurnQueueHead(*row) for row in connection.execute(TURN_HEADS, (connection.namespace, _ALL))
    ]


def registered_turn_heads(connection: Connection, serves: Serves) -> list[TurnQueueHead]:
    """The queues of instances that the caller registers."""
    most = sum(map(len, serves.orchestrations.values()), len(serves.orchestrations))
    rows = connection.execute(TURN_HEADS, (connection.namespace, most + 1)).fetchall()
    if len(rows) > most:
        rows = [
            row
            for name, versions in serves.orchestrations.items()
            for version in (None, *versions)
            for row in connection.execute(
                TURN_HEADS_OF, (connection.namespace, name, version, serves.engine)
            )
        ]
    return [head for row in rows if (head := TurnQueueHead(*row)).is_registered(serves)]


def activity_heads(connection: Connection) -> list[ActivityQueueHead]:
    """All queues of activities, empty ones included."""
    return [
        ActivityQueueHead(*row)
        for row in connection.execute(ACTIVITY_HEADS, (connection.namespace, _ALL))
    ]


def registered_activity_heads(
    connection: Connection, names: frozenset[str], tags: frozenset[str | None]
) -> list[ActivityQueueHead]:
    """The queues of activities that the caller registers."""
    most = len(names) * len(tags)
    rows = connection.execute(ACTIVITY_HEADS, (connection.namespace, most + 1)).fetchall()
    if len(rows) > most:
        rows = [
            row
            for name in names
            for tag in tags
            for row in connection.execute(ACTIVITY_HEADS_OF, (connection.namespace, name, tag))
        ]
    return [head for row in rows if (head := ActivityQueueHead(*row)).is_registered(names, tags)]


def in_batches(
    heads: Iterable[AnyQueueHead], size: int, now: Instant
) -> Iterator[list[AnyQueueHead]]:
    """The queues that may have a row to lease, `size` at a time, the oldest first.

    The first batch holds the `size` oldest rows, because no queue of a later batch has an older one.
    """
    ready = sorted((head for head in heads if head.is_ready(now)), key=attrgetter("first"))
    for begin in range(0, len(ready), size):
        yield ready[begin : begin + size]


def next_turn(connection: Connection, serves: Serves, now: Instant) -> Instant:
    """When there may be an instance to lease."""
    return _earliest(registered_turn_heads(connection, serves), now)


def next_activity(
    connection: Connection, names: frozenset[str], tags: frozenset[str | None], now: Instant
) -> Instant:
    """When there may be an activity to lease."""
    return _earliest(registered_activity_heads(connection, names, tags), now)


def _earliest(heads: Iterable[QueueHead], now: Instant) -> Instant:
    return min((head.next_change(now) for head in heads), default=ALWAYS)
