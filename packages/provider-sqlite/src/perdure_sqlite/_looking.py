"""Looking for work without taking it: what stands first on each shelf.

One statement of one index step per shelf answers whether there is work for a caller now, and if
not, when to look again. Lease calls and waiters both begin with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from perdure.contract import Instant, Serves

from perdure_sqlite._shelves import ALWAYS, DUE, HELD, NOW, REACH
from perdure_sqlite._sql.activities import ACTIVITY_HEADS
from perdure_sqlite._sql.instances import TURN_HEADS


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a queue serves, and the ends of its shelves."""

    queue: int
    name: str
    version: str | None = None
    engine: int = 0
    tag: str | None = None
    first_now: Instant | None
    first_due: Instant | None
    first_held: Instant | None
    last_held: Instant | None

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


def turn_heads(reader: Reader) -> list[Head]:
    """The queues of instances."""
    return [
        Head(
            queue=queue,
            name=name,
            version=version,
            engine=engine,
            first_now=first_now,
            first_due=first_due,
            first_held=first_held,
            last_held=last_held,
        )
        for queue, name, version, engine, first_now, first_due, first_held, last_held in (
            reader.execute(TURN_HEADS, (reader.namespace,)).fetchall()
        )
        if first_now is not None or first_due is not None or first_held is not None
    ]


def activity_heads(reader: Reader) -> list[Head]:
    """The queues of activities."""
    return [
        Head(
            queue=queue,
            name=name,
            tag=tag,
            first_now=first_now,
            first_due=first_due,
            first_held=first_held,
            last_held=last_held,
        )
        for queue, name, tag, first_now, first_due, first_held, last_held in (
            reader.execute(ACTIVITY_HEADS, (reader.namespace,)).fetchall()
        )
        if first_now is not None or first_due is not None or first_held is not None
    ]


def next_turn(reader: Reader, serves: Serves, now: Instant) -> Instant:
    """When there may be an instance to lease."""
    return _earliest(
        (
            head
            for head in turn_heads(reader)
            if head.engine <= serves.engine and serves.accepts(head.name, head.version)
        ),
        now,
    )


def next_activity(
    reader: Reader, names: frozenset[str], tags: frozenset[str | None], now: Instant
) -> Instant:
    """When there may be an activity to lease."""
    return _earliest(
        (head for head in activity_heads(reader) if head.name in names and head.tag in tags), now
    )


def _earliest(heads: Iterable[Head], now: Instant) -> Instant:
    return min((head.next_change(now) for head in heads), default=ALWAYS)
