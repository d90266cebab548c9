"""Fault injection: chosen statements fail as the driver fails, so that tests can see what is left."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

from perdure_conformance.tampering import Outage
from psycopg import OperationalError, errors

from perdure_postgres._database import Database

OUTAGES: Final[dict[Outage, Callable[[], Exception]]] = {
    Outage(name="the connection is cut", passes=True): lambda: OperationalError(
        "server closed the connection unexpectedly"
    ),
    Outage(name="the server does not answer", passes=True): TimeoutError,
    Outage(name="the server shuts down", passes=True): errors.AdminShutdown,
    Outage(name="the server fails over to a standby", passes=True): (errors.ReadOnlySqlTransaction),
    Outage(name="transactions cannot be serialized", passes=True): errors.SerializationFailure,
    Outage(name="the disk is full", passes=False): errors.DiskFull,
    Outage(name="a grant is missing", passes=False): errors.InsufficientPrivilege,
    Outage(name="a block cannot be read", passes=False): errors.DataCorrupted,
}
"""What the driver raises in each outage."""


class FailingStatements:
    """Counts the statements of a provider, and raises at one of them, or from one on."""

    def __init__(self, step: int, raised: Callable[[], Exception], *, once: bool) -> None:
        self.reached = False
        """Whether a statement failed."""
        self._left = step
        self._raised = raised
        self._once = once

    def __call__(self, statement: str) -> None:
        """Called with each statement before it runs."""
        del statement
        self._left -= 1
        if self._left == 0 or (self._left < 0 and not self._once):
            self.reached = True
            raise self._raised()


@contextmanager
def failing_statements(
    database: Database, step: int, raised: Callable[[], Exception], *, once: bool
) -> Generator[FailingStatements]:
    """In the block, the statement of this number, counted from 1, fails, and all later ones."""
    fails = FailingStatements(step, raised, once=once)
    pause = database.first_pause
    database.before_statement, database.first_pause = fails, 0
    try:
        yield fails
    finally:
        database.before_statement, database.first_pause = None, pause
