"""Outages: from a chosen statement on, every statement of a provider fails as SQLite fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

from perdure_conformance.tampering import Outage

from perdure_sqlite._open_file import OpenFile
from perdure_sqlite._testing.failing_statements import database_error

R = TypeVar("R")

RAISED: Final[dict[Outage, Exception]] = {
    Outage(name="memory is exhausted", passes=True): MemoryError(),
    Outage(name="the disk cannot be read or written", passes=False): database_error(
        sqlite3.SQLITE_IOERR
    ),
    Outage(name="the disk is full", passes=False): database_error(sqlite3.SQLITE_FULL),
    Outage(name="the driver's connection is closed", passes=False): sqlite3.ProgrammingError(
        "Cannot operate on a closed database."
    ),
}
"""What the driver raises in each outage."""


class Statements:
    """Counts the statements of all connections of a provider, and raises from one of them on."""

    def __init__(self, step: int, error: Exception) -> None:
        self.reached = False
        """Whether a statement failed."""
        self._left = step
        self._error = error

    def failing(self, run: Callable[..., R]) -> Callable[..., R]:
        """The same way to run statements, which fails when its turn has come."""

        def made(*arguments: object) -> R:
            self._left -= 1
            if self._left <= 0:
                self.reached = True
                raise self._error
            return run(*arguments)

        return made


@contextmanager
def outage_of(opened: OpenFile, outage: Outage, step: int) -> Generator[Statements]:
    """In the block, the statement of this number, counted from 1, and all after it fail."""
    statements = Statements(step, RAISED[outage])
    transaction, reader = opened.transaction, opened.reader
    before = transaction.execute, transaction.executemany, reader.execute, reader.scan_rows
    transaction.execute = statements.failing(transaction.execute)
    transaction.executemany = statements.failing(transaction.executemany)
    reader.execute = statements.failing(reader.execute)
    reader.scan_rows = statements.failing(reader.scan_rows)
    try:
        yield statements
    finally:
        transaction.execute, transaction.executemany, reader.execute, reader.scan_rows = before
