"""What an operation works with inside its transaction: the cursor, the time, the queues.

One session lasts as long as the provider. It remembers what the present group of operations
changed, so that waiters are woken after the commit, and forgets it when the group is rolled
back. It begins and ends no transaction itself.

What it knows of queues and of the stamp from one group to the next holds as long as nobody else
has written, which the counter of the connection tells inside the transaction. So no row is ever
put on a shelf of a queue that is not there: nobody would look at it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from perdure.clock import Clock
from perdure.contract import Instant

from perdure_sqlite._rows import InstanceRow, status_of
from perdure_sqlite._shelves import ALWAYS, NOW, SHELVES
from perdure_sqlite._sql.activities import (
    ADD_ACTIVITY_QUEUE,
    DROP_ACTIVITY_QUEUE,
    DROP_EMPTY_ACTIVITY_QUEUE,
    FIND_ACTIVITY_QUEUE,
)
from perdure_sqlite._sql.instances import (
    ADD_TURN_QUEUE,
    DROP_TURN_QUEUE,
    FIND_INSTANCE,
    FIND_TURN_QUEUE,
    READ_STAMP,
    RUNNING,
    WRITE_STAMP,
)


class Session:
    """The present transaction of the writer."""

    __slots__ = (
        "_activity_queues",
        "_stamp",
        "_stored_stamp",
        "_turn_queues",
        "_version",
        "activities_from",
        "changed",
        "clock",
        "execute",
        "executemany",
        "namespace",
        "now",
        "turns_from",
    )

    def __init__(self, cursor: sqlite3.Cursor, *, namespace: int, clock: Clock) -> None:
        self.execute: Callable[..., sqlite3.Cursor] = cursor.execute
        self.executemany: Callable[..., sqlite3.Cursor] = cursor.executemany
        self.namespace = namespace
        self.clock = clock
        self.now: Instant = 0
        """The present instant of the operation that runs."""
        self.changed: dict[str, bool] = {}
        """Instances whose last commit or parked mark is new, and whether they just go on."""
        self.turns_from: Instant = ALWAYS
        """From when on there may be an instance to lease that there was not before."""
        self.activities_from: Instant = ALWAYS
        self._turn_queues: dict[tuple[str, str | None, int], int] = {}
        self._activity_queues: dict[tuple[str, str | None], int] = {}
        self._stamp: Instant = 0
        self._stored_stamp: Instant = 0
        self._version: int | None = None
        """What `PRAGMA data_version` was when everything known here was read."""

    def begin(self) -> None:
        """A group begins: its transaction is open."""
        self.changed.clear()
        self.turns_from = self.activities_from = ALWAYS
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            # Another connection has written: it may have dropped queues, or moved the stamp on.
            self._forget_queues()
            (self._stored_stamp,) = self.execute(READ_STAMP, (self.namespace,)).fetchone()
            self._version = version
        self._stamp = self._stored_stamp

    def finish(self) -> None:
        """The group is complete: write what it left to the end."""
        if self._stamp != self._stored_stamp:
            self.execute(WRITE_STAMP, (self._stamp, self.namespace))
            self._stored_stamp = self._stamp

    def forget(self) -> None:
        """The group was rolled back: nothing of it is known any more."""
        self.changed.clear()
        self._version = None

    def note_change(self, instance: str, *, goes_on: bool = False) -> None:
        """The instance has changed; `goes_on`: it was neither created, nor parked, nor ended."""
        self.changed[instance] = goes_on and self.changed.get(instance, True)

    def stamp(self) -> Instant:
        """The stamp of what arrives now: never below an earlier one."""
        if self.now > self._stamp:
            self._stamp = self.now
        return self._stamp

    @property
    def horizon(self) -> Instant:
        """No message that is visible now is due later than this."""
        return max(self.now, self._stamp)

    def find(self, instance: str) -> InstanceRow | None:
        """The row of an instance, by its id; raises `Damaged` where it cannot be understood."""
        columns = self.execute(FIND_INSTANCE, (self.namespace, instance)).fetchone()
        if columns is None:
            return None
        row = InstanceRow(*columns)
        if row.status != RUNNING:
            # Whatever it means, it would be taken for the end, and messages would be dropped.
            status_of(row.id, row.status)
        return row

    def turn_queue(self, name: str, version: str | None, engine: int) -> int:
        """The number of the queue of such instances."""
        key = (name, version, engine)
        number = self._turn_queues.get(key)
        if number is None:
            number = self._number(FIND_TURN_QUEUE, ADD_TURN_QUEUE, (self.namespace, *key))
            self._turn_queues[key] = number
        return number

    def activity_queue(self, name: str, tag: str | None) -> int:
        """The number of the queue of such activities."""
        key = (name, tag)
        number = self._activity_queues.get(key)
        if number is None:
            number = self._number(FIND_ACTIVITY_QUEUE, ADD_ACTIVITY_QUEUE, (self.namespace, *key))
            self._activity_queues[key] = number
        return number

    def drop_queues(self, *, turns: Sequence[int] = (), activities: Sequence[int] = ()) -> None:
        """Drop queues on whose shelves nothing stands."""
        self.executemany(DROP_TURN_QUEUE, [(queue,) for queue in turns])
        self.executemany(DROP_ACTIVITY_QUEUE, [(queue,) for queue in activities])
        self._forget_queues()

    def drop_empty_activity_queues(self, queues: Iterable[int]) -> None:
        """Drop those of these queues on whose shelves nothing stands."""
        self.executemany(DROP_EMPTY_ACTIVITY_QUEUE, [(queue,) for queue in queues])
        self._forget_queues()

    def expect_turn(self, shelf: int | None, ready_at: Instant | None) -> None:
        """An instance was put on this shelf: whoever waits for turns wants to know."""
        if shelf is not None and ready_at is not None:
            from_ = 0 if shelf % SHELVES == NOW else ready_at
            self.turns_from = min(self.turns_from, from_)

    def expect_activity(self, shelf: int, ready_at: Instant) -> None:
        """An activity was put on this shelf: whoever waits for activities wants to know."""
        from_ = 0 if shelf % SHELVES == NOW else ready_at
        self.activities_from = min(self.activities_from, from_)

    def _forget_queues(self) -> None:
        self._turn_queues.clear()
        self._activity_queues.clear()

    def _number(self, find: str, add: str, key: tuple[object, ...]) -> int:
        found = self.execute(find, key).fetchone()
        if found is not None:
            return int(found[0])
        number = self.execute(add, key).lastrowid
        if number is None:
            raise sqlite3.InternalError("the inserted queue has no number")
        return number
