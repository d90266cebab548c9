"""Lets a statement of the writer fail, for the tests of what a commit leaves behind then.

Nothing of the provider uses it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Literal

from perdure_sqlite._session import Session

When = Literal["before", "after"]


def database_error(code: int) -> sqlite3.OperationalError:
    """An error as the driver raises it for this result code of SQLite."""
    error = sqlite3.OperationalError(f"forced, code {code}")
    error.sqlite_errorcode = code
    return error


class Failing:
    """Counts the writer's statements, and raises at one of them."""

    def __init__(self, session: Session, step: int, error: Exception, *, when: When) -> None:
        self.reached = False
        """Whether so many statements were run."""
        self.statements: list[str] = []
        """Those that were run until then."""
        self._step = step
        self._error = error
        self._when = when
        self._execute = session.execute
        self._executemany = session.executemany

    def execute(self, statement: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run the statement, and fail before or after it if its turn has come."""
        return self._run(statement, lambda: self._execute(statement, parameters))

    def executemany(self, statement: str, rows: Sequence[Sequence[object]]) -> sqlite3.Cursor:
        """Run the statement for all rows, or for the first one before it fails."""
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
def failing(
    session: Session,
    step: int,
    *,
    code: int = sqlite3.SQLITE_IOERR,
    when: When = "before",
) -> Generator[Failing]:
    """In the block, the writer's statement of this number, counted from 1, fails once."""
    fails = Failing(session, step, database_error(code), when=when)
    before = session.execute, session.executemany
    session.execute, session.executemany = fails.execute, fails.executemany
    try:
        yield fails
    finally:
        session.execute, session.executemany = before
