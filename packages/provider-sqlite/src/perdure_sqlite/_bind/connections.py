"""The connections of an application that can be bound, and how an operation runs on each.

An operation is a function that runs statements, one after the other, with a cursor of the driver or
with something like it. Python's driver begins a transaction by itself only before some statements,
so one is begun here where none is open. A connection that would commit each statement is refused.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, TypeVar, cast

import sqlalchemy
from perdure.contract import cannot_be_bound, is_of_class, to_its_end
from perdure.errors import InvalidInput

T = TypeVar("T")


class Cursor(Protocol):
    """What operations use of a cursor of the driver."""

    def execute(self, statement: str, parameters: Sequence[object] = (), /) -> Any:
        """Run a statement; the result has its rows."""
        ...

    def executemany(self, statement: str, parameters: Iterable[Sequence[object]], /) -> Any:
        """Run a statement for each of these parameters."""
        ...


Operation = Callable[[Cursor], T]


@dataclass(frozen=True, slots=True)
class State:
    """What a connection is at a moment."""

    is_open: bool
    in_transaction: bool = False
    autocommits: bool = False
    """Whether a statement outside a transaction is committed by itself."""


class BoundConnection(ABC):
    """A connection of the application."""

    blocks: bool = False
    """Whether `run` blocks and never suspends."""
    begins_with = "`connection.execute('BEGIN IMMEDIATE')`"
    """How the application begins a transaction."""

    def __init__(self, description: str, connection: object) -> None:
        self.description = description
        self._shown = connection

    @abstractmethod
    def state(self) -> State:
        """What the connection is now."""

    @abstractmethod
    async def run(self, operation: Operation[T]) -> T:
        """The result of an operation; raises what the operation and the driver raise."""

    def check(self) -> None:
        """Raise `InvalidInput` if a call would not be in a transaction of the application."""
        state = self.state()
        if not state.is_open:
            raise InvalidInput(f"{self._shown!r} is closed; bind an open connection")
        if state.autocommits and not state.in_transaction:
            raise InvalidInput(
                f"{self._shown!r} would commit each statement by itself, so that a start would"
                " stand although the application rolls back; begin a transaction with"
                f" {self.begins_with}, and bind inside it"
            )


def connection_of(value: object) -> BoundConnection:
    """The connection to bind; raises `InvalidInput` for anything else."""
    if isinstance(value, sqlite3.Connection):
        return _Sqlite(value)
    if isinstance(value, sqlalchemy.Connection):
        return _SqlAlchemy(value)
    if is_of_class(value, "sqlalchemy.ext.asyncio", "AsyncConnection"):
        return _AsyncSqlAlchemy(value)
    if is_of_class(value, "aiosqlite", "Connection"):
        return _Aiosqlite(value)
    if hasattr(value, "ensure_connection") and hasattr(value, "vendor"):
        return _Django(value)
    raise cannot_be_bound(
        value,
        instead="a connection of sqlite3, aiosqlite or SQLAlchemy, or django.db.connection",
    )


class _Sqlite(BoundConnection):
    blocks = True

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__("the sqlite3 connection of this application", connection)
        self._connection = connection

    def state(self) -> State:
        return _state_of(self._connection)

    async def run(self, operation: Operation[T]) -> T:
        return _run(self._connection, operation)


class _Django(BoundConnection):
    """Django's connection, which opens and replaces that of the driver by itself."""

    blocks = True
    begins_with = "`with transaction.atomic()`"

    def __init__(self, wrapper: Any) -> None:
        super().__init__(f"Django's connection {wrapper.alias!r}", wrapper)
        self._wrapper = wrapper

    def state(self) -> State:
        return _state_of(self._driver())

    async def run(self, operation: Operation[T]) -> T:
        return _run(self._driver(), operation)

    def _driver(self) -> sqlite3.Connection:
        if self._wrapper.vendor != "sqlite":
            raise InvalidInput(
                f"{self.description} is one of {self._wrapper.vendor}; bind it with the package of"
                " that database, such as perdure_postgres.bind"
            )
        self._wrapper.ensure_connection()
        return cast("sqlite3.Connection", self._wrapper.connection)


class _SqlAlchemy(BoundConnection):
    blocks = True
    begins_with = "`engine.begin()`"

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        super().__init__("the SQLAlchemy connection of this application", connection)
        self._connection = connection
        _check_dialect(connection.dialect)

    def state(self) -> State:
        return _state_of_sqlalchemy(self._connection)

    async def run(self, operation: Operation[T]) -> T:
        return _run_on_sqlalchemy(self._connection, operation)


class _AsyncSqlAlchemy(BoundConnection):
    begins_with = "`engine.begin()`"

    def __init__(self, connection: Any) -> None:
        super().__init__("the async SQLAlchemy connection of this application", connection)
        self._connection = connection
        _check_dialect(connection.dialect)

    def state(self) -> State:
        return _state_of_sqlalchemy(self._connection.sync_connection)

    async def run(self, operation: Operation[T]) -> T:
        return await self._connection.run_sync(_run_on_sqlalchemy, operation)


class _Aiosqlite(BoundConnection):
    """A connection in a thread of its own, which takes one statement at a time.

    The operation runs in another thread, which waits for each statement on the event loop.
    """

    begins_with = "`await connection.execute('BEGIN IMMEDIATE')`"

    def __init__(self, connection: Any) -> None:
        super().__init__("the aiosqlite connection of this application", connection)
        self._connection = connection

    def state(self) -> State:
        try:
            return State(
                is_open=True,
                in_transaction=self._connection.in_transaction,
                autocommits=self._connection.isolation_level is None,
            )
        except ValueError:
            # It has no connection of the driver any more.
            return State(is_open=False)

    async def run(self, operation: Operation[T]) -> T:
        connection = self._connection
        rows, connection.row_factory = connection.row_factory, None
        cursor = _WaitingCursor(connection, asyncio.get_running_loop())
        try:
            # After a cancellation, the application must not roll back in the middle.
            return await to_its_end(asyncio.to_thread(operation, cursor))
        finally:
            connection.row_factory = rows


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is left of a statement."""

    _rows: list[tuple[object, ...]]
    lastrowid: int | None
    rowcount: int

    def fetchone(self) -> tuple[object, ...] | None:
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[tuple[object, ...]]:
        return self._rows

    def __iter__(self) -> Iterator[tuple[object, ...]]:
        return iter(self._rows)


class _WaitingCursor:
    """A cursor for another thread than that of the event loop."""

    def __init__(self, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop

    def execute(self, statement: str, parameters: Sequence[object] = (), /) -> _Rows:
        return self._wait("execute", statement, parameters)

    def executemany(self, statement: str, parameters: Iterable[Sequence[object]], /) -> _Rows:
        return self._wait("executemany", statement, list(parameters))

    def _wait(self, method: str, *arguments: object) -> _Rows:
        async def run() -> _Rows:
            async with getattr(self._connection, method)(*arguments) as cursor:
                return _Rows(list(await cursor.fetchall()), cursor.lastrowid, cursor.rowcount)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()


class _NewCursors:
    """A cursor of its own for each statement, for drivers whose `execute` returns nothing."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[object] = (), /) -> Any:
        cursor = self._connection.cursor()
        cursor.execute(statement, parameters)
        return cursor

    def executemany(self, statement: str, parameters: Iterable[Sequence[object]], /) -> Any:
        cursor = self._connection.cursor()
        cursor.executemany(statement, list(parameters))
        return cursor


def _run(connection: sqlite3.Connection, operation: Operation[T]) -> T:
    cursor = connection.cursor(sqlite3.Cursor)
    # Whatever rows the application has chosen.
    cursor.row_factory = None
    try:
        return operation(cursor)
    finally:
        cursor.close()


def _run_on_sqlalchemy(connection: sqlalchemy.Connection, operation: Operation[T]) -> T:
    if not connection.in_transaction():
        # SQLAlchemy must know that a transaction has begun, or its commit does nothing.
        connection.exec_driver_sql("SELECT 1")
    driver = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        return _run(driver, operation)
    return operation(_NewCursors(connection.connection))


def _state_of(connection: sqlite3.Connection) -> State:
    try:
        # From Python 3.12 on: -1 where `isolation_level` counts.
        autocommit = getattr(connection, "autocommit", -1)
        autocommits = connection.isolation_level is None if autocommit == -1 else bool(autocommit)
        _ = connection.total_changes
        return State(
            is_open=True, in_transaction=connection.in_transaction, autocommits=autocommits
        )
    except sqlite3.ProgrammingError:
        return State(is_open=False)


def _state_of_sqlalchemy(connection: sqlalchemy.Connection | None) -> State:
    if connection is None or connection.closed:
        return State(is_open=False)
    driver: Any = connection.connection.driver_connection
    if isinstance(driver, sqlite3.Connection):
        return _state_of(driver)
    return State(
        is_open=True,
        in_transaction=driver.in_transaction,
        autocommits=driver.isolation_level is None,
    )


def _check_dialect(dialect: sqlalchemy.Dialect) -> None:
    if dialect.name != "sqlite" or dialect.driver not in ("pysqlite", "aiosqlite"):
        _refuse_dialect(dialect)


def _refuse_dialect(dialect: sqlalchemy.Dialect) -> NoReturn:
    raise InvalidInput(
        f"the SQLAlchemy connection uses {dialect.name}+{dialect.driver}; bind one of"
        " sqlite+pysqlite or sqlite+aiosqlite"
    )
