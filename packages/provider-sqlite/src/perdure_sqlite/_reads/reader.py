"""Reads, on a connection of their own, so that they never queue behind writes.

A read sees every write that was acknowledged before it began, since those are committed. Reads of a
few rows run in the event loop, where they cost less than a switch to a thread and back. Scans of a
whole table run in a thread, which the first scan starts.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from perdure_sqlite._file.database import Database
from perdure_sqlite._file.errors import DamagedRecord, is_busy, provider_error
from perdure_sqlite._file.identity import FileReplaced, replaced_error
from perdure_sqlite._worker_thread import WorkerThread

Result = TypeVar("Result")

_LONGEST_PAUSE = 0.01


class Reader:
    """The connection for reading, and the thread for scans."""

    def __init__(self, database: Database, *, file: str, patience: float) -> None:
        self._connection = database.reader
        self.execute: Callable[..., sqlite3.Cursor] = self._connection.execute
        self.scan_rows = database.scan
        self.namespace = database.namespace
        self._database = database
        self._file = file
        self._patience = patience
        self._scanner: WorkerThread | None = None

    async def run(self, name: str, read: Callable[[Reader], Result]) -> Result:
        """The result of `read`, which is retried while the file is locked."""
        give_up_at: float | None = None
        while True:
            self.check_file(name)
            try:
                if self._connection.in_transaction:
                    # The end of a snapshot has failed; reads would go on seeing it.
                    self.execute("ROLLBACK")
                return read(self)
            except (sqlite3.Error, DamagedRecord, MemoryError) as error:
                now = time.monotonic()
                give_up_at = now + self._patience if give_up_at is None else give_up_at
                if not is_busy(error) or now >= give_up_at:
                    raise provider_error(error, file=self._file, operation=name) from error
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 # jitter

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """All statements in the block see the same state."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("ROLLBACK")

    async def scan(
        self, name: str, statement: str, parameters: tuple[object, ...]
    ) -> list[tuple[object, ...]]:
        """The rows of a long-running statement."""
        self.check_file(name)
        self._scanner = self._scanner or WorkerThread("perdure-sqlite-scan")
        try:
            return await self._scanner.run(lambda: self.scan_rows(statement, parameters))
        except (sqlite3.Error, FileReplaced, MemoryError) as error:
            raise provider_error(error, file=self._file, operation=name) from error

    def check_file(self, name: str) -> None:
        """Raise if the file was found replaced or missing."""
        reason = self._database.identity.replaced
        if reason is not None:
            raise replaced_error(reason, file=self._file, operation=name)

    async def close(self) -> None:
        """Wait for running scans, and end their thread."""
        if self._scanner is not None:
            await self._scanner.run(lambda: None)
            self._scanner.stop()
