"""The SQLite provider: the methods of the contract over a file.

Writes are operations that the writer groups; reads have a connection of their own. One object
belongs to the event loop that opened it, and to the process: it refuses use after a fork, where
two processes would share a connection's state.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from perdure.clock import Clock, SystemClock
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CancellationWait,
    ChangeWait,
    CommitAnswer,
    HistoryPage,
    InstanceState,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewInstance,
    Provider,
    ProviderAdmin,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
    WorkWait,
    check_commit,
    check_delay,
    check_lease,
)
from perdure.errors import (
    ExecutionNotFound,
    InstanceNotFound,
    StorageClosed,
    StorageFailed,
)

from perdure_sqlite import _activities, _creating, _turns
from perdure_sqlite._admin import SQLiteAdmin
from perdure_sqlite._commit import commit_turn
from perdure_sqlite._database import Database, open_database
from perdure_sqlite._histories import History
from perdure_sqlite._looking import (
    Head,
    activity_heads,
    served_activity_heads,
    served_turn_heads,
    turn_heads,
)
from perdure_sqlite._options import SQLiteOptions
from perdure_sqlite._place import Displaced, displaced
from perdure_sqlite._reading import Reading
from perdure_sqlite._rows import InstanceRow, state_of
from perdure_sqlite._session import Session
from perdure_sqlite._shelves import REACH
from perdure_sqlite._sql.activities import LEASED_ACTIVITIES
from perdure_sqlite._sql.instances import FIND_INSTANCE, LEASED_TURNS, READ_INSTANCE
from perdure_sqlite._waits import Waits
from perdure_sqlite._worker import Worker
from perdure_sqlite._writer import Writer

Result = TypeVar("Result")

_MESSAGES_PER_STEP = 500
_BEAT = 0.5
"""Seconds between two looks at the place of the file."""
_LOGGER = logging.getLogger("perdure.sqlite")


class SQLiteProvider(Provider):
    """A provider on an SQLite file; `async with` opens and closes it."""

    finish_limit = 1000
    tells_of_work = True
    tells_of_changes = True
    tells_of_cancellations = True

    def __init__(self, options: SQLiteOptions, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock or SystemClock(), description=options.description)
        self._options = options
        self._file = str(options.file)
        self._open: _Open | None = None
        self._process = os.getpid()

    async def __aenter__(self) -> Self:
        """Open the file; raises a `ProviderError` that names it where that fails."""
        if self._open is not None:
            raise StorageFailed(
                f"the provider of {self._file!r} is open already; open another one",
                operation="open",
            )
        self._process = os.getpid()
        self._open = await _open_all(self._options, self.clock)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Answer what was begun, let what waits fail, and close the file."""
        opened, self._open = self._open, None
        if opened is not None and os.getpid() == self._process:
            await asyncio.shield(asyncio.ensure_future(opened.close()))

    async def create_instance(self, new: NewInstance) -> None:
        await self._write("create_instance", lambda at: _creating.create_instance(at, new))

    async def send(self, messages: Sequence[Message]) -> None:
        each = tuple(messages)
        # In parts, so that many messages don't keep the event loop; each is put whole.
        for begin in range(0, len(each), _MESSAGES_PER_STEP):
            part = each[begin : begin + _MESSAGES_PER_STEP]
            await self._write("send", partial(_creating.send, messages=part))

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        check_lease("lease_for", request.lease_for)
        with self._opened("lease_turns").waits.finding.by("lease_turns"):
            if not await self._read("lease_turns", lambda at: self._has_turns(at, request)):
                return ()
            return await self._write(
                "lease_turns",
                lambda at: _turns.lease_turns(at, request),
                volatile=True,
                undo=self._give_turns_back,
            )

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        def read(reader: Reading) -> HistoryPage:
            found = reader.execute(FIND_INSTANCE, (reader.namespace, instance)).fetchone()
            row = None if found is None else InstanceRow(*found)
            if row is None or row.incarnation != incarnation:
                raise InstanceNotFound(instance)
            if not 1 <= execution <= row.execution:
                raise ExecutionNotFound(instance, execution)
            history = History(instance, row.number, execution)
            last = row.last_event if execution == row.execution else history.count(reader)
            return history.page(reader, after, last=last)

        return await self._read("read_history", read)

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        check_commit(commit, finish_limit=self.finish_limit)
        return await self._write("commit_turn", lambda at: commit_turn(at, commit))

    async def release_turn(self, release: TurnRelease) -> None:
        check_delay(release.delay)
        await self._write(
            "release_turn",
            lambda at: _turns.release_turn(at, release),
            volatile=release.parked is None,
        )

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        check_lease("lease_for", lease_for)
        each = tuple(leases)
        return await self._write(
            "renew_turns", lambda at: _turns.renew_turns(at, each, lease_for), volatile=True
        )

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        check_lease("lease_for", request.lease_for)
        with self._opened("lease_activities").waits.finding.by("lease_activities"):
            if not await self._read(
                "lease_activities", lambda at: self._has_activities(at, request)
            ):
                return ()
            return await self._write(
                "lease_activities",
                lambda at: _activities.lease_activities(at, request),
                volatile=True,
                undo=self._give_activities_back,
            )

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._write(
            "complete_activity", lambda at: _activities.complete_activity(at, completion)
        )

    async def release_activity(self, release: ActivityRelease) -> None:
        check_delay(release.delay)
        await self._write(
            "release_activity",
            lambda at: _activities.release_activity(at, release),
            volatile=release.parked is None,
        )

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        check_lease("lease_for", lease_for)
        each = tuple(leases)
        return await self._write(
            "renew_activities",
            lambda at: _activities.renew_activities(at, each, lease_for),
            volatile=True,
        )

    async def read_instance(self, instance: str) -> InstanceState | None:
        finding = self._opened("read_instance").waits.finding

        def read(reader: Reading) -> InstanceState | None:
            found = reader.execute(READ_INSTANCE, (reader.namespace, instance)).fetchone()
            return None if found is None else finding.with_mark(state_of(found))

        return await self._read("read_instance", read)

    async def wait_for_work(self, wait: WorkWait) -> None:
        await self._opened("wait_for_work").waits.wait_for_work(wait)

    async def wait_for_change(self, wait: ChangeWait) -> None:
        await self._opened("wait_for_change").waits.wait_for_change(wait)

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        opened = self._opened("wait_for_cancellation")
        return await opened.waits.wait_for_cancellation(wait)

    def as_management_capability(self) -> ProviderAdmin:
        return self._opened("as_management_capability").admin

    @property
    def session(self) -> Session:
        """What the writer works with, for whoever tests what its statements can suffer."""
        return self._opened("session").session

    def _opened(self, operation: str) -> _Open:
        if self._open is None:
            raise StorageClosed(
                f"the provider of {self._file!r} is not open; use it inside 'async with'",
                operation=operation,
            )
        if os.getpid() != self._process:
            raise StorageClosed(
                f"the provider of {self._file!r} was opened before this process was forked;"
                " open one of its own here",
                operation=operation,
            )
        self._open.reading.refuse_if_displaced(operation)
        return self._open

    async def _read(self, name: str, read: Callable[[Reading], Result]) -> Result:
        opened = self._opened(name)
        # A caller that does nothing but read must not keep others from running.
        await asyncio.sleep(0)
        return await opened.reading.run(name, read)

    async def _write(
        self,
        name: str,
        run: Callable[[Session], Result],
        *,
        volatile: bool = False,
        undo: Callable[[Result], None] | None = None,
    ) -> Result:
        writer = self._opened(name).writer
        return await writer.submit(name, run, volatile=volatile, undo=undo).wait()

    def _has_turns(self, reader: Reading, request: TurnRequest) -> bool:
        """Whether a lease call would find anything; asked before it takes the write lock."""
        now, serves = self.clock.now(), request.serves
        if request.unserved_for is None:
            is_found = any(head.is_ready(now) for head in served_turn_heads(reader, serves))
        else:
            # Queues on which nothing stands are dropped by the lease call.
            is_found = any(
                head.is_empty or (head.engine <= serves.engine and head.is_ready(now))
                for head in turn_heads(reader)
            )
        if is_found:
            return True
        key = (request.token, reader.namespace, now, now + REACH)
        return bool(reader.execute(LEASED_TURNS, key).fetchall())

    def _has_activities(self, reader: Reading, request: ActivityRequest) -> bool:
        now = self.clock.now()
        heads: Sequence[Head]
        if request.unserved_for is None:
            heads = served_activity_heads(reader, request.names, request.tags)
        else:
            heads = activity_heads(reader)
        if any(
            head.is_ready(now) or (head.is_empty and request.unserved_for is not None)
            for head in heads
        ):
            return True
        key = (request.token, reader.namespace, now, now + REACH, 1)
        return bool(reader.execute(LEASED_ACTIVITIES, key).fetchall())

    def _give_turns_back(self, turns: Sequence[LeasedTurn]) -> None:
        leases = [TurnLease(instance=turn.state.instance, token=turn.token) for turn in turns]
        self._submit_undo("release_turn", lambda at: _turns.release_turns(at, leases))

    def _give_activities_back(self, activities: Sequence[LeasedActivity]) -> None:
        leases = [activity.lease for activity in activities]
        self._submit_undo("release_activity", lambda at: _activities.release_activities(at, leases))

    def _submit_undo(self, name: str, run: Callable[[Session], None]) -> None:
        if self._open is not None and self._open.database.place.displaced is None:
            operation = self._open.writer.submit(name, run, volatile=True)
            operation.future.add_done_callback(_pass_over)


class _Open:
    """Everything that an open provider has."""

    def __init__(
        self, database: Database, worker: Worker, options: SQLiteOptions, clock: Clock
    ) -> None:
        file = str(options.file)
        session = Session(database.writer.cursor(), namespace=database.namespace, clock=clock)
        self.session = session
        self.database = database
        self.worker = worker
        self.reading = Reading(database, file=file, patience=options.busy_timeout)
        self.admin = SQLiteAdmin(self.reading, clock)
        self.waits = Waits(self.reading, clock, file=file, read_version=self._read_version)
        self.writer = Writer(
            database.writer,
            session,
            worker,
            file=file,
            durable=options.durability == "full",
            patience=options.busy_timeout,
            place=database.place,
            on_commit=lambda: self.waits.tell(session),
            on_displaced=self._lose,
        )
        self._file = file
        self._closing: asyncio.Future[None] | None = None
        self._beat = asyncio.get_running_loop().call_later(_BEAT, self._look_at_place)

    async def close(self) -> None:
        """Stop one after the other, so that nothing is used that is closed already."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(None))
        await self._closing

    async def _close(self, reason: Displaced | None) -> None:
        self._beat.cancel()
        await self.waits.close(reason)
        await self.writer.drain()
        await self.reading.close()
        await self.worker.run(self.database.close)
        self.worker.stop()

    def _look_at_place(self) -> None:
        """Notice that the file was deleted or replaced while nothing is written."""
        try:
            self.database.place.check()
        except Displaced as reason:
            self._lose(reason)
        else:
            self._beat = asyncio.get_running_loop().call_later(_BEAT, self._look_at_place)

    def _lose(self, reason: Displaced) -> None:
        """Close the file that nobody will open again.

        Its log lies at the path still, and would be taken for that of a file put there.
        """
        if self._closing is None:
            _LOGGER.error("%s", displaced(reason, file=self._file, operation="look"))
            self._closing = asyncio.ensure_future(self._close(reason))

    def _read_version(self) -> int | None:
        # Of the writer's connection: on any other one the writer's own commits count too.
        if self.writer.is_committing:
            return None
        try:
            (version,) = self.database.writer.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return None
        return version


async def _open_all(options: SQLiteOptions, clock: Clock) -> _Open:
    worker = Worker("perdure-sqlite")
    opened: list[Database] = []

    def open_file() -> Database:
        database = open_database(
            options.file,
            namespace=options.namespace,
            durable=options.durability == "full",
            patience=options.busy_timeout,
        )
        opened.append(database)
        return database

    def close_file() -> None:
        for database in opened:
            database.close()

    try:
        database = await worker.run(open_file)
    except BaseException:
        # The thread may still be opening: it closes what it gets, and ends.
        worker.post(close_file, lambda error: None)
        worker.dismiss()
        raise
    return _Open(database, worker, options, clock)


def _pass_over(future: asyncio.Future[None]) -> None:
    """Leases that could not be given back run out by themselves."""
    if not future.cancelled():
        future.exception()
