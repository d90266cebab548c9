"""Transactions of activities, each on a connection of its own.

The activity gets the driver's connection, inside a `transaction()` block of psycopg, which refuses
`commit` and `rollback`. The completion is the same statement that the ordinary provider runs, so that
the lease is judged, and its row locked, in the transaction that is then committed. It locks what the
completion touches no longer than from there to the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg
from perdure.clock import Clock
from perdure.contract import (
    ActivityCompletion,
    OpenTransaction,
    TransactionRefused,
    to_its_end,
)
from perdure.errors import ProviderError
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from perdure_postgres._bind.values import decoded
from perdure_postgres._database import Row
from perdure_postgres._errors import has_changed_nothing, is_broken_off, provider_error
from perdure_postgres._waits import News
from perdure_postgres._writes.changes import Completion
from perdure_postgres._writes.document import Document

T = TypeVar("T")

_COMPLETE: Final = "complete_in_transaction"


class DatabaseTransaction(OpenTransaction):
    """An open transaction of an activity."""

    __slots__ = ("block", "driver", "has_ended")

    def __init__(
        self,
        driver: psycopg.AsyncConnection[Any] | psycopg.Connection[Any],
        block: Any,
    ) -> None:
        super().__init__(driver)
        self.driver = driver
        self.block = block
        """The context of psycopg that commits."""
        self.has_ended = False


class Transactions:
    """Begins and ends the transactions of a provider object, a few at a time."""

    def __init__(
        self,
        conninfo: dict[str, str],
        *,
        storage: str,
        function: str,
        namespace: int,
        clock: Clock,
        size: int,
        tell: Callable[[News], None],
    ) -> None:
        self._conninfo: dict[str, Any] = {
            **conninfo,
            "autocommit": True,
            "prepare_threshold": None,
        }
        self._storage = storage
        self._statement = f"SELECT * FROM {function}(%s, %s, %s::jsonb, %b)"  # noqa: S608 # our own name
        self._namespace = namespace
        self._clock = clock
        self._tell = tell
        self._slots = asyncio.Semaphore(size)
        self._free: list[psycopg.AsyncConnection[Any] | psycopg.Connection[Any]] = []

    async def begin(self, *, blocking: bool) -> DatabaseTransaction:
        """A transaction on a connection that blocks, or on an async one."""
        await self._slots.acquire()
        try:
            kind = psycopg.Connection if blocking else psycopg.AsyncConnection
            driver = self._taken(kind)
            if blocking:
                begin = asyncio.to_thread(self._begin, driver)
            else:
                begin = self._begin_async(driver)
            return await self._to_its_end("begin_transaction", begin, unheard=_abandon)
        except BaseException:
            self._slots.release()
            raise

    async def complete(
        self, transaction: DatabaseTransaction, completion: ActivityCompletion
    ) -> None:
        """Complete the activity in the transaction, and commit."""
        driver = transaction.driver
        if isinstance(driver, psycopg.AsyncConnection):
            completing = self._complete_async(transaction, driver, completion)
        else:
            completing = asyncio.to_thread(self._complete, transaction, driver, completion)

        def committed(_: None) -> None:
            self._end(transaction, keep=True)
            self._tell(News(turns=True))

        committed(await self._to_its_end(_COMPLETE, completing, unheard=committed))

    async def roll_back(self, transaction: DatabaseTransaction, *, in_use: bool) -> None:
        """Roll back, unless the transaction has ended: the server does when the connection closes."""
        if transaction.has_ended:
            return
        driver = transaction.driver
        self._end(transaction, keep=False)
        if isinstance(driver, psycopg.AsyncConnection):
            closing = driver.close()
        else:
            closing = asyncio.to_thread(_close, driver, in_use)
        await self._to_its_end("roll_back", closing)

    async def close(self) -> None:
        """Close the connections that no transaction uses."""
        while self._free:
            driver = self._free.pop()
            with suppress(psycopg.Error, OSError):
                if isinstance(driver, psycopg.AsyncConnection):
                    await driver.close()
                else:
                    driver.close()

    def _end(self, transaction: DatabaseTransaction, *, keep: bool) -> None:
        transaction.has_ended = True
        self._slots.release()
        if keep:
            self._free.append(transaction.driver)

    def _taken(
        self, kind: type[psycopg.AsyncConnection[Any]] | type[psycopg.Connection[Any]]
    ) -> Any:
        for place, driver in enumerate(self._free):
            if isinstance(driver, kind):
                del self._free[place]
                if not driver.closed:
                    return driver
        return None

    def _begin(self, driver: psycopg.Connection[Any] | None) -> DatabaseTransaction:
        if driver is None:
            driver = psycopg.Connection.connect(**self._conninfo)
        try:
            driver.row_factory = tuple_row
            block = driver.transaction()
            block.__enter__()
        except BaseException:
            driver.close()
            raise
        return DatabaseTransaction(driver, block)

    async def _begin_async(
        self, driver: psycopg.AsyncConnection[Any] | None
    ) -> DatabaseTransaction:
        if driver is None:
            driver = await psycopg.AsyncConnection.connect(**self._conninfo)
        try:
            driver.row_factory = tuple_row
            block = driver.transaction()
            await block.__aenter__()
        except BaseException:
            await driver.close()
            raise
        return DatabaseTransaction(driver, block)

    def _complete(
        self,
        transaction: DatabaseTransaction,
        driver: psycopg.Connection[Any],
        completion: ActivityCompletion,
    ) -> None:
        change = Completion(completion)
        self._refuse_ended(driver)
        with psycopg.Cursor(driver, row_factory=tuple_row) as cursor:
            cursor.execute(self._statement.encode(), self._parameters(change), binary=True)
            types = [column.type_code for column in cursor.description or ()]
            _answer(change, decoded(cursor.fetchall(), types))
        transaction.block.__exit__(None, None, None)

    async def _complete_async(
        self,
        transaction: DatabaseTransaction,
        driver: psycopg.AsyncConnection[Any],
        completion: ActivityCompletion,
    ) -> None:
        change = Completion(completion)
        self._refuse_ended(driver)
        async with psycopg.AsyncCursor(driver, row_factory=tuple_row) as cursor:
            await cursor.execute(self._statement.encode(), self._parameters(change), binary=True)
            types = [column.type_code for column in cursor.description or ()]
            _answer(change, decoded(await cursor.fetchall(), types))
        await transaction.block.__aexit__(None, None, None)

    def _parameters(self, change: Completion) -> tuple[object, ...]:
        document = Document(self._clock.now())
        change.add_to(document)
        return self._namespace, document.now, document.text(), document.payloads

    def _refuse_ended(self, driver: psycopg.AsyncConnection[Any] | psycopg.Connection[Any]) -> None:
        if driver.info.transaction_status is TransactionStatus.IDLE:
            raise TransactionRefused(
                "the activity ended its transaction by a statement of its own; leave that to the"
                " runtime, since what it wrote may have been committed without its result",
                operation=_COMPLETE,
            )

    async def _to_its_end(
        self,
        operation: str,
        call: Awaitable[T],
        *,
        unheard: Callable[[T], object] | None = None,
    ) -> T:
        """As `to_its_end`, with the errors of the contract."""
        try:
            return await to_its_end(call, unheard=unheard)
        except ProviderError:
            raise
        except (psycopg.Error, OSError) as error:
            raise self._error(operation, error) from error

    def _error(self, operation: str, error: Exception) -> ProviderError:
        if operation == _COMPLETE and not (has_changed_nothing(error) or is_broken_off(error)):
            return TransactionRefused(
                f"{self._storage} refused what the activity wrote"
                f" ({str(error).strip().partition(chr(10))[0]}); correct the activity",
                operation=operation,
            )
        return provider_error(error, storage=self._storage, operation=operation)


def _answer(change: Completion, rows: list[Row]) -> None:
    [fields] = [fields for _, part, fields, _ in rows if part == 0]
    change.answer(fields, (), False)


def _abandon(transaction: DatabaseTransaction) -> None:
    """Give up a transaction that no caller has; the server rolls it back."""
    transaction.driver.pgconn.finish()


def _close(driver: psycopg.Connection[Any], in_use: bool) -> None:
    """Close the connection, between two statements of a thread that may still be using it."""
    if in_use:
        driver.cancel()
    with driver.lock:
        driver.close()
