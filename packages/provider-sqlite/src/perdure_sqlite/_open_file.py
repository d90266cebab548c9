"""Everything that exists while a provider is open: connections, thread, writer, reader, waits.

If the file is deleted or replaced, all of it closes at once, before the provider itself is closed.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3

from perdure.clock import Clock

from perdure_sqlite._admin import SQLiteAdmin
from perdure_sqlite._file.database import Database, open_database
from perdure_sqlite._file.identity import FileReplaced, replaced_error
from perdure_sqlite._options import SQLiteOptions
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._transactions import Transactions
from perdure_sqlite._waiting.notifications import Notifications
from perdure_sqlite._worker_thread import WorkerThread
from perdure_sqlite._writes.transaction import Transaction
from perdure_sqlite._writes.writer import Writer

_CHECK_INTERVAL = 0.5
"""Seconds between two checks that the file was not replaced."""
_LOGGER = logging.getLogger("perdure.sqlite")


class OpenFile:
    """The parts of an open provider, and the order in which they close."""

    def __init__(
        self, database: Database, worker: WorkerThread, options: SQLiteOptions, clock: Clock
    ) -> None:
        file = str(options.file)
        transaction = Transaction(
            database.writer.cursor(), namespace=database.namespace, clock=clock
        )
        self.transaction = transaction
        self.database = database
        self.worker = worker
        self.reader = Reader(database, file=file, patience=options.busy_timeout)
        self.notifications = Notifications(
            self.reader, clock, file=file, read_version=self._read_version
        )
        self.admin = SQLiteAdmin(self.reader, clock, self.notifications.damage)
        self.writer = Writer(
            database.writer,
            transaction,
            worker,
            file=file,
            durable=options.durability == "full",
            patience=options.busy_timeout,
            identity=database.identity,
            on_commit=lambda: self.notifications.notify(transaction),
            on_replaced=self._stop_for_replaced_file,
        )
        self.transactions = Transactions(
            file,
            namespace=database.namespace,
            clock=clock,
            durable=options.durability == "full",
            patience=options.busy_timeout,
            on_commit=self.notifications.notify,
        )
        self._file = file
        self._closing: asyncio.Future[None] | None = None
        self._next_check = asyncio.get_running_loop().call_later(
            _CHECK_INTERVAL, self._check_identity
        )

    async def close(self) -> None:
        """Close the parts in an order in which none uses a closed one."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(None))
        await self._closing

    async def _close(self, reason: FileReplaced | None) -> None:
        self._next_check.cancel()
        await self.notifications.close(reason)
        await self.writer.drain()
        await self.reader.close()
        await self.worker.run(self.database.close)
        self.worker.stop()

    def _check_identity(self) -> None:
        """Notice that the file was deleted or replaced, even if nothing is written."""
        try:
            self.database.identity.check()
        except FileReplaced as reason:
            self._stop_for_replaced_file(reason)
        else:
            self._next_check = asyncio.get_running_loop().call_later(
                _CHECK_INTERVAL, self._check_identity
            )

    def _stop_for_replaced_file(self, reason: FileReplaced) -> None:
        """Close the file, whose log would otherwise be taken for that of the file put in its place."""
        if self._closing is None:
            _LOGGER.error("%s", replaced_error(reason, file=self._file, operation="look"))
            self._closing = asyncio.ensure_future(self._close(reason))

    def _read_version(self) -> int | None:
        # On the writer's connection, because other connections also see the writer's own commits.
        if self.writer.is_in_use:
            return None
        try:
            (version,) = self.database.writer.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return None
        return version


async def open_file(options: SQLiteOptions, clock: Clock) -> OpenFile:
    """Open the file in a thread of its own; raises a `ProviderError` that names the file."""
    worker = WorkerThread("perdure-sqlite")
    opened: list[Database] = []

    def open_in_thread() -> Database:
        database = open_database(
            options.file,
            namespace=options.namespace,
            durable=options.durability == "full",
            patience=options.busy_timeout,
            create=options.create,
        )
        opened.append(database)
        return database

    def close_in_thread() -> None:
        for database in opened:
            database.close()

    try:
        database = await worker.run(open_in_thread)
    except BaseException:
        # The thread may still be opening the file: it closes it then, and ends.
        worker.post(close_in_thread, lambda error: None)
        worker.dismiss()
        raise
    return OpenFile(database, worker, options, clock)
