"""Reads: on a connection of their own, so that they never queue behind writes.

What was acknowledged was committed, so a read that begins later sees it. Reads of a few rows run
in the event loop, where they cost less than a hand-over to a thread and back; scans of a whole
table run in a thread that is started for the first of them.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from perdure_sqlite._database import Database
from perdure_sqlite._failures import Damaged, failure_of, is_busy
from perdure_sqlite._place import Displaced, displaced
from perdure_sqlite._worker import Worker

Result = TypeVar("Result")

_LONGEST_PAUSE = 0.01


class Reading:
    """The connection for reading, and the thread for scans."""

    def __init__(self, database: Database, *, file: str, patience: float) -> None:
        self.execute: Callable[..., sqlite3.Cursor] = database.reader.execute
        self.namespace = database.namespace
        self._database = database
        self._file = file
        self._patience = patience
        self._scanner: Worker | None = None

    async def run(self, name: str, read: Callable[[Reading], Result]) -> Result:
        """The result of `read`, which is repeated while the file is locked."""
        give_up_at: float | None = None
        while True:
            self.refuse_if_displaced(name)
            try:
                return read(self)
            except (sqlite3.Error, Damaged) as error:
                now = time.monotonic()
                give_up_at = now + self._patience if give_up_at is None else give_up_at
                if not is_busy(error) or now >= give_up_at:
                    raise failure_of(error, file=self._file, operation=name) from error
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 # jitter

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """Let several statements see the same state."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self.execute("ROLLBACK")

    async def scan(
        self, name: str, statement: str, parameters: tuple[object, ...]
    ) -> list[tuple[object, ...]]:
        """The rows of a statement that may take long."""
        self.refuse_if_displaced(name)
        self._scanner = self._scanner or Worker("perdure-sqlite-scan")
        try:
            return await self._scanner.run(lambda: self._database.scan(statement, parameters))
        except (sqlite3.Error, Displaced) as error:
            raise failure_of(error, file=self._file, operation=name) from error

    def refuse_if_displaced(self, name: str) -> None:
        """Raise where the path of the file was found to name another one, or none."""
        reason = self._database.place.displaced
        if reason is not None:
            raise displaced(reason, file=self._file, operation=name)

    async def close(self) -> None:
        """Wait for the scans that run, and end their thread."""
        if self._scanner is not None:
            await self._scanner.run(lambda: None)
            self._scanner.stop()
