"""Group commit: all operations that wait run in one transaction, with one fsync.

The event loop itself runs the operations of a group, one synchronous step after another, and the
thread does what takes long: the COMMIT with its fsync. While that lasts, the next group gathers.
A thread that also ran the statements would give up the interpreter's lock at each of them, and
on a busy loop wait for its return each time; measured, that halves the throughput of a loaded
process and gains nothing in an idle one.

Why a group never couples fates (COMMIT-26): an operation refuses before it writes, so a refusal
leaves nothing behind. If anything else goes wrong, the whole group is rolled back and each of
its operations runs again in a transaction of its own.

Nobody is answered before the COMMIT. A group of volatile operations (leases, which a power loss
may take along with their holder) commits without fsync, in the loop.

Nor is anybody answered unless the file was in its place after the COMMIT: what went to a file
that was deleted or replaced before is lost.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar, cast

from perdure.errors import StorageClosed

from perdure_sqlite._failures import failure_of, is_busy, is_full
from perdure_sqlite._operation import Operation
from perdure_sqlite._place import Displaced, Place, displaced
from perdure_sqlite._room import Room
from perdure_sqlite._session import Session
from perdure_sqlite._worker import Worker

Result = TypeVar("Result")

_LARGEST_GROUP = 200
_LONGEST_GROUP = 0.01
"""Seconds for which a group may keep the loop; the fsync is a small part of it already."""
_QUICK_GROUPS = 200
"""After so many commits in the loop, one goes through the thread, which also checkpoints."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.02


class Writer:
    """The one writer of a provider: takes operations, groups them, commits."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        session: Session,
        worker: Worker,
        *,
        file: str,
        durable: bool,
        patience: float,
        place: Place,
        on_commit: Callable[[], None],
        on_displaced: Callable[[Displaced], None],
    ) -> None:
        self._connection = connection
        self._session = session
        self._worker = worker
        self._file = file
        self._durable = durable
        self._patience = patience
        self._place = place
        self._on_commit = on_commit
        self._on_displaced = on_displaced
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Operation[object]] = deque()
        self._scheduled = False
        self._committing = False
        self._closing = False
        self._idle: asyncio.Future[None] | None = None
        self._mode: tuple[bool, int] | None = None
        """Whether commits are quick, and after how many pages they checkpoint."""
        self._quick_groups = 0
        self._pause = 0.0
        self._give_up_at: float | None = None
        self._room = Room(file)

    @property
    def is_committing(self) -> bool:
        """Whether the thread uses the connection."""
        return self._committing

    def submit(
        self,
        name: str,
        run: Callable[[Session], Result],
        *,
        volatile: bool = False,
        undo: Callable[[Result], None] | None = None,
    ) -> Operation[Result]:
        """Let the operation run in the next group; its future has the answer."""
        if self._place.displaced is not None:
            raise displaced(self._place.displaced, file=self._file, operation=name)
        if self._closing:
            raise StorageClosed(
                f"the provider of {self._file!r} is closed; open it again", operation=name
            )
        operation = Operation(name, run, self._loop.create_future(), volatile=volatile, undo=undo)
        self._waiting.append(cast("Operation[object]", operation))
        self._schedule()
        return operation

    async def drain(self) -> None:
        """Refuse new operations, and return when those that wait have been answered."""
        self._closing = True
        if self._waiting or self._committing:
            self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    def _schedule(self) -> None:
        if not self._scheduled and not self._committing:
            self._scheduled = True
            self._loop.call_soon(self._run_group)

    def _run_group(self) -> None:
        self._scheduled = False
        group = self._take()
        if not group:
            self._settle()
            return
        try:
            quick = self._begin(group)
        except sqlite3.Error as error:
            self._could_not_begin(group, error)
            return
        self._pause, self._give_up_at = 0.0, None
        self._perform(group, quick=quick)

    def _take(self) -> list[Operation[object]]:
        """The next group: what waits, without what was cancelled before it began."""
        group: list[Operation[object]] = []
        while self._waiting and len(group) < _LARGEST_GROUP:
            if self._waiting[0].alone and group:
                break
            operation = self._waiting.popleft()
            if operation.future.cancelled():
                operation.leave()
                continue
            operation.begun = True
            group.append(operation)
            if operation.alone:
                break
        return group

    def _begin(self, group: list[Operation[object]]) -> bool:
        """Open the transaction; returns whether it commits in the loop."""
        quick = self._quick_groups < _QUICK_GROUPS and (
            not self._durable or all(operation.volatile for operation in group)
        )
        if self._connection.in_transaction:
            # Left behind by a ROLLBACK that failed itself.
            self._session.execute("ROLLBACK")
        mode = quick, 0 if quick else self._room.pages
        if mode != self._mode:
            self._set_mode(mode)
        self._session.execute("BEGIN IMMEDIATE")
        return quick

    def _set_mode(self, mode: tuple[bool, int]) -> None:
        """Without fsync and checkpoint in the loop; with them in the thread."""
        quick, pages = mode
        full = self._durable and not quick
        self._mode = None
        self._session.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
        self._session.execute(f"PRAGMA wal_autocheckpoint={pages}").fetchall()
        self._mode = mode

    def _could_not_begin(self, group: list[Operation[object]], error: sqlite3.Error) -> None:
        now = time.monotonic()
        if self._give_up_at is None:
            self._give_up_at = now + self._patience
        if is_busy(error) and now < self._give_up_at and not self._closing:
            # Not in SQLite's own waiting, which would keep the loop.
            self._put_back(group)
            self._pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, self._pause * 1.5))
            self._scheduled = True
            self._loop.call_later(self._pause * random.uniform(0.5, 1), self._run_group)  # noqa: S311 # jitter
            return
        self._pause, self._give_up_at = 0.0, None
        for operation in group:
            operation.fail(failure_of(error, file=self._file, operation=operation.name))
        self._continue()

    def _perform(self, group: list[Operation[object]], *, quick: bool) -> None:
        before = self._connection.total_changes
        try:
            self._session.begin()
            self._perform_each(group)
            wrote = self._connection.total_changes != before
            if wrote:
                self._session.finish()
            if quick or not wrote:
                self._commit()
        except Exception as error:  # noqa: BLE001 # whatever it is, the group is undone
            self._undo(group, error)
            return
        if not wrote:
            self._answer(group)
        elif quick:
            self._quick_groups += 1
            self._answer(group)
        else:
            self._quick_groups = 0
            self._committing = True
            self._worker.post(self._commit, lambda error: self._committed(group, error))

    def _perform_each(self, group: list[Operation[object]]) -> None:
        """Run the operations; those for which no time is left go into the next group."""
        over = time.perf_counter() + _LONGEST_GROUP
        for place, operation in enumerate(group, 1):
            operation.perform(self._session)
            if time.perf_counter() > over:
                self._put_back(group[place:])
                del group[place:]

    def _put_back(self, group: list[Operation[object]]) -> None:
        for operation in group:
            operation.begun = False
        self._waiting.extendleft(reversed(group))

    def _commit(self) -> None:
        self._session.execute("COMMIT")
        self._place.check()

    def _committed(self, group: list[Operation[object]], error: BaseException | None) -> None:
        self._committing = False
        if error is None:
            self._answer(group)
        else:
            self._undo(group, error)

    def _answer(self, group: list[Operation[object]]) -> None:
        for operation in group:
            operation.answer()
        self._on_commit()
        self._continue()

    def _undo(self, group: list[Operation[object]], error: BaseException) -> None:
        """Roll back, and decide what becomes of the group."""
        self._session.forget()
        try:
            if self._connection.in_transaction:
                self._session.execute("ROLLBACK")
        except sqlite3.Error as second:
            error = second
        if isinstance(error, Displaced):
            self._lose(group, error)
        elif is_full(error) and self._room.may_be_made():
            self._make_room(group, error)
        else:
            self._fail(group, error)

    def _fail(self, group: list[Operation[object]], error: BaseException) -> None:
        """Try the operations of a group one by one, and report the error of a single one."""
        if len(group) > 1:
            for operation in group:
                operation.alone = True
            self._put_back(group)
        else:
            for operation in group:
                operation.fail(failure_of(error, file=self._file, operation=operation.name))
        self._continue()

    def _make_room(self, group: list[Operation[object]], full: BaseException) -> None:
        """Move what the log holds into the file, which cuts it off, and try the group again.

        SQLite does so by itself after a commit only, and on a full disk there is none.
        """
        self._committing = True

        def checkpoint() -> None:
            self._session.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        def made(error: BaseException | None) -> None:
            self._committing = False
            if error is None:
                self._put_back(group)
                self._continue()
            else:
                self._fail(group, full)

        self._worker.post(checkpoint, made)

    def _lose(self, group: list[Operation[object]], reason: Displaced) -> None:
        """The file is not in its place: nothing is carried out any more."""
        left = [*group, *self._waiting]
        self._waiting.clear()
        for operation in left:
            operation.fail(failure_of(reason, file=self._file, operation=operation.name))
        self._on_displaced(reason)
        self._settle()

    def _continue(self) -> None:
        if self._waiting:
            self._schedule()
        else:
            self._settle()

    def _settle(self) -> None:
        if self._idle is not None and not self._idle.done() and not self._committing:
            self._idle.set_result(None)
