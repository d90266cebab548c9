"""Transactions of activities, each on a connection of its own.

A transaction has the lock for writing from its begin on, so that it never loses it to another one.
Meanwhile every other write to the file waits. The transactions of a provider object therefore take
turns, and do not compete for the lock.

While the activity has the connection, SQLite refuses its COMMIT, ROLLBACK and BEGIN by an authorizer,
whatever statement or method they come from. After a rollback beneath a thread that still uses the
connection, it refuses every statement of other threads than that which rolled back.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn, Self, TypeVar, cast

from perdure.clock import Clock
from perdure.contract import (
    ActivityCompletion,
    OpenTransaction,
    TransactionRefused,
    to_its_end,
)
from perdure.errors import PerdureError

from perdure_sqlite._file.errors import code_of, provider_error
from perdure_sqlite._operations.activities import complete_activity
from perdure_sqlite._writes.transaction import Transaction

T = TypeVar("T")

_REFUSES: Final = frozenset({sqlite3.SQLITE_CONSTRAINT})


class ActivityConnection(sqlite3.Connection):
    """A connection whose transaction the runtime ends."""

    def commit(self) -> NoReturn:
        """Raise: the runtime commits."""
        self._refuse("commit")

    def rollback(self) -> NoReturn:
        """Raise: an exception of the activity rolls back."""
        self._refuse("roll back")

    def __enter__(self) -> Self:
        self._refuse("commit, as a `with` block does,")

    def __del__(self) -> None:
        # One that was taken away from a thread; from Python 3.13 on, it warns if it is left open.
        with suppress(sqlite3.Error):
            self.close()

    def _refuse(self, what: str) -> NoReturn:
        raise PerdureError(
            f"a transactional activity cannot {what} on its connection; return from the function to"
            " commit, and raise to roll back"
        )


class FileTransaction(OpenTransaction):
    """An open transaction of an activity."""

    __slots__ = ("driver", "has_ended")

    def __init__(self, driver: sqlite3.Connection) -> None:
        super().__init__(driver)
        self.driver = driver
        self.has_ended = False


class Transactions:
    """Begins and ends the transactions of a provider object."""

    def __init__(
        self,
        file: str,
        *,
        namespace: int,
        clock: Clock,
        durable: bool,
        patience: float,
        on_commit: Callable[[Transaction], None],
    ) -> None:
        self._file = file
        self._namespace = namespace
        self._clock = clock
        self._durable = durable
        self._patience = patience
        self._on_commit = on_commit
        self._turn = asyncio.Lock()

    async def begin(self) -> FileTransaction:
        """A transaction that has the lock for writing."""
        await self._turn.acquire()
        try:
            return FileTransaction(
                await self._in_thread("begin_transaction", self._connect, _close)
            )
        except BaseException:
            self._turn.release()
            raise

    async def complete(self, transaction: FileTransaction, completion: ActivityCompletion) -> None:
        """Complete the activity in the transaction, and commit."""
        operation = "complete_in_transaction"

        def committed(work: Transaction) -> None:
            self._end(transaction)
            self._on_commit(work)

        committed(
            await self._in_thread(
                operation, lambda: self._complete(transaction, completion), committed
            )
        )

    async def roll_back(self, transaction: FileTransaction, *, in_use: bool) -> None:
        """Roll back, unless the transaction has ended."""
        if transaction.has_ended:
            return
        try:
            undo = _take_away if in_use else _close
            await self._in_thread("roll_back", lambda: undo(transaction.driver))
        finally:
            self._end(transaction)

    def _end(self, transaction: FileTransaction) -> None:
        if not transaction.has_ended:
            transaction.has_ended = True
            self._turn.release()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,
            factory=ActivityConnection,
        )
        try:
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            connection.set_authorizer(_refuse_ends)
        except BaseException:
            connection.close()
            raise
        return connection

    def _complete(
        self, transaction: FileTransaction, completion: ActivityCompletion
    ) -> Transaction:
        driver = transaction.driver
        driver.set_authorizer(None)
        try:
            # Whatever rows and cursors the activity has chosen.
            cursor = driver.cursor(sqlite3.Cursor)
            cursor.row_factory = None
            work = Transaction(cursor, namespace=self._namespace, clock=self._clock)
            work.begin()
            work.now = self._clock.now()
            complete_activity(work, completion)
            work.finish()
            cursor.execute("COMMIT")
        except sqlite3.Error as error:
            if code_of(error) in _REFUSES:
                raise TransactionRefused(
                    f"the file {self._file!r} refused what the activity wrote ({error}); correct"
                    " the activity",
                    operation="complete_in_transaction",
                ) from error
            raise
        finally:
            if driver.in_transaction:
                driver.set_authorizer(_refuse_ends)
        driver.close()
        return work

    async def _in_thread(
        self, operation: str, run: Callable[[], T], unheard: Callable[[T], object] | None = None
    ) -> T:
        """The result of what a thread runs to its end, with the errors of the contract."""
        try:
            return await to_its_end(asyncio.to_thread(run), unheard=unheard)
        except (sqlite3.Error, MemoryError) as error:
            raise provider_error(error, file=self._file, operation=operation) from error


def _refuse_ends(action: int, *details: str | None) -> int:
    del details
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK


def _close(driver: sqlite3.Connection) -> None:
    driver.set_authorizer(None)
    try:
        if driver.in_transaction:
            driver.execute("ROLLBACK")
    finally:
        driver.close()


def _take_away(driver: sqlite3.Connection) -> None:
    """Roll back beneath a thread that may be in the middle of a statement.

    The connection is not closed here, which would pull the statement's memory away, but once the
    thread has let go of it.
    """
    here = threading.get_ident()

    def refuse_others(action: int, *details: str | None) -> int:
        del action, details
        return sqlite3.SQLITE_OK if threading.get_ident() == here else sqlite3.SQLITE_DENY

    driver.set_authorizer(cast("Callable[..., int]", refuse_others))
    driver.interrupt()
    driver.execute("ROLLBACK")
