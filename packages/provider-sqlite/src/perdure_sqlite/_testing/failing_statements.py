"""Fault injection: a chosen statement of the writer fails, so that tests can see what is left."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Literal

from perdure_sqlite._writes.transaction import Transaction

When = Literal["before", "after"]


def database_error(code: int) -> sqlite3.OperationalError:
    """An error as the driver raises it for this result code of SQLite."""
    error = sqlite3.OperationalError(f"forced, code {code}")
    error.sqlite_errorcode = code
    return error


class FailingStatements:
    """Counts the statements of the writer, and raises at one of them."""

    def __init__(
        self, transaction: Transaction, step: int, error: Exception, *, when: When
    ) -> None:
        self.reached = False
        """Whether the chosen statement was reached."""
        self.statements: list[str] = []
        """The statements up to the chosen one."""
        self._step = step
        self._error = error
        self._when = when
        self._execute = transaction.execute
        self._executemany = transaction.executemany

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run the statement; raise before or after it if it is the chosen one."""
        return self._run(statement, lambda: self._execute(statement, parameters))

    def executemany(self, statement: str, rows: Sequence[Sequence[object]]) -> sqlite3.Cursor:
        """Run the statement for all rows; for the first row only if it is the chosen one."""
        if self._is_next():
            self._executemany(statement, rows[:1])
        return self._run(statement, lambda: self._executemany(statement, rows))

    def _is_next(self) -> bool:
        return not self.reached and len(self.statements) + 1 == self._step

    def _run(self, statement: str, run: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        if self.reached:
            return run()
        self.reached = self._is_next()
        self.statements.append(statement)
        if not self.reached:
            return run()
        if self._when == "after":
            run()
        raise self._error


@contextmanager
def failing_statement(
    transaction: Transaction,
    step: int,
    *,
    code: int = sqlite3.SQLITE_IOERR,
    when: When = "before",
) -> Generator[FailingStatements]:
    """In the block, the statement of this number, counted from 1, fails once."""
    fails = FailingStatements(transaction, step, database_error(code), when=when)
    before = transaction.execute, transaction.executemany
    transaction.execute, transaction.executemany = fails.execute, fails.executemany
    try:
        yield fails
    finally:
        transaction.execute, transaction.executemany = before
