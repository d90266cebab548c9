"""The writer's transaction: the cursor, the time and the queues that an operation works with.

One object lasts as long as the provider. It records what the current group of operations changes,
so that waits are notified after the commit, and forgets it when the group is rolled back. The
writer begins and ends the transaction in the database.

Queue numbers and the arrival stamp are kept from one group to the next while no other connection
writes; `PRAGMA data_version` tells that inside the transaction. So no row is put into a queue that
another process has dropped, where no lease call would find it. The same holds for the rows of
instances whose lease a commit has kept: the next commit of each is likely to be one of this process,
which then need not read the row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from perdure.clock import Clock
from perdure.contract import Instant

from perdure_sqlite._schema.ready_index import ALWAYS, BUCKETS, READY
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
from perdure_sqlite._sql.rows import InstanceRow, status_of

_MOST_ROWS = 4096
"""Of instances whose rows are remembered: a few megabytes."""


class Transaction:
    """The current transaction of the writer."""

    __slots__ = (
        "_activity_queues",
        "_rows",
        "_stamp",
        "_stored_stamp",
        "_turn_queues",
        "_version",
        "changed",
        "clock",
        "execute",
        "executemany",
        "namespace",
        "next_activity_at",
        "next_turn_at",
        "now",
    )

    def __init__(self, cursor: sqlite3.Cursor, *, namespace: int, clock: Clock) -> None:
        self.execute: Callable[..., sqlite3.Cursor] = cursor.execute
        self.executemany: Callable[..., sqlite3.Cursor] = cursor.executemany
        self.namespace = namespace
        self.clock = clock
        self.now: Instant = 0
        """The time of the operation that runs."""
        self.changed: dict[str, bool] = {}
        """Instances with a new commit or parked mark, and whether the instance simply continues."""
        self.next_turn_at: Instant = ALWAYS
        """When this group may have made an instance ready to lease, at the earliest."""
        self.next_activity_at: Instant = ALWAYS
        self._rows: dict[str, InstanceRow] = {}
        """As they stand in the file, by the id of the instance."""
        self._turn_queues: dict[tuple[str, str | None, int], int] = {}
        self._activity_queues: dict[tuple[str, str | None], int] = {}
        self._stamp: Instant = 0
        self._stored_stamp: Instant = 0
        self._version: int | None = None
        """`PRAGMA data_version` when the queues, the stamp and the rows were read."""

    def begin(self) -> None:
        """Begin a group; its transaction is open."""
        self.changed.clear()
        self.next_turn_at = self.next_activity_at = ALWAYS
        (version,) = self.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            # Another connection has written, and may have dropped queues, advanced the stamp or
            # changed rows.
            self.forget_queues()
            self._rows.clear()
            (self._stored_stamp,) = self.execute(READ_STAMP, (self.namespace,)).fetchone()
            self._version = version
        self._stamp = self._stored_stamp

    def finish(self) -> None:
        """Write what the group left to its end: the stamp."""
        if self._stamp != self._stored_stamp:
            self.execute(WRITE_STAMP, (self._stamp, self.namespace))
            self._stored_stamp = self._stamp

    def forget(self) -> None:
        """Forget the group, which was rolled back."""
        self.changed.clear()
        self._version = None

    def note_change(self, instance: str, *, continues: bool = False) -> None:
        """Record a change; `continues`: the instance was neither created, nor parked, nor ended."""
        self.changed[instance] = continues and self.changed.get(instance, True)

    def stamp(self) -> Instant:
        """The stamp of a message that arrives now; never earlier than the stamp before."""
        if self.now > self._stamp:
            self._stamp = self.now
        return self._stamp

    @property
    def horizon(self) -> Instant:
        """The latest due time that a visible message can have."""
        return max(self.now, self._stamp)

    def find(self, instance: str) -> InstanceRow | None:
        """The row of an instance, by its id; raises `DamagedRecord` if its status is unknown.

        The caller may change the row. It is read again after that, unless `remember` is told of it.
        """
        remembered = self._rows.pop(instance, None)
        if remembered is not None:
            return remembered
        columns = self.execute(FIND_INSTANCE, (self.namespace, instance)).fetchone()
        if columns is None:
            return None
        row = InstanceRow(*columns)
        if row.status != RUNNING:
            # An unknown status would count as an end, and messages would be dropped.
            status_of(row.id, row.status)
        return row

    def remember(self, row: InstanceRow) -> None:
        """Remember a row for the next `find`; it is as it stands in the file."""
        if len(self._rows) >= _MOST_ROWS:
            self._rows.clear()
        self._rows[row.id] = row

    def forget_row(self, instance: str) -> None:
        """Read the row of an instance again: a statement changes it."""
        self._rows.pop(instance, None)

    def turn_queue(self, name: str, version: str | None, engine: int) -> int:
        """The number of the queue for these instances, which is created if it is missing."""
        key = (name, version, engine)
        number = self._turn_queues.get(key)
        if number is None:
            number = self._number(FIND_TURN_QUEUE, ADD_TURN_QUEUE, (self.namespace, *key))
            self._turn_queues[key] = number
        return number

    def activity_queue(self, name: str, tag: str | None) -> int:
        """The number of the queue for these activities, which is created if it is missing."""
        key = (name, tag)
        number = self._activity_queues.get(key)
        if number is None:
            number = self._number(FIND_ACTIVITY_QUEUE, ADD_ACTIVITY_QUEUE, (self.namespace, *key))
            self._activity_queues[key] = number
        return number

    def drop_queues(self, *, turns: Sequence[int] = (), activities: Sequence[int] = ()) -> None:
        """Drop queues, which must be empty."""
        self.executemany(DROP_TURN_QUEUE, [(queue,) for queue in turns])
        self.executemany(DROP_ACTIVITY_QUEUE, [(queue,) for queue in activities])
        self.forget_queues()

    def drop_empty_activity_queues(self, queues: Iterable[int]) -> None:
        """Drop those of these queues that are empty."""
        self.executemany(DROP_EMPTY_ACTIVITY_QUEUE, [(queue,) for queue in queues])
        self.forget_queues()

    def note_ready_turn(self, bucket: int | None, ready_at: Instant | None) -> None:
        """Record that an instance was put into this bucket, to notify those who wait for turns."""
        if bucket is not None and ready_at is not None:
            from_ = 0 if bucket % BUCKETS == READY else ready_at
            self.next_turn_at = min(self.next_turn_at, from_)

    def note_ready_activity(self, bucket: int, ready_at: Instant) -> None:
        """Record that an activity was put into this bucket, to notify those who wait for activities."""
        from_ = 0 if bucket % BUCKETS == READY else ready_at
        self.next_activity_at = min(self.next_activity_at, from_)

    def forget_queues(self) -> None:
        """Find the numbers of queues again, because some of these queues were dropped."""
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
