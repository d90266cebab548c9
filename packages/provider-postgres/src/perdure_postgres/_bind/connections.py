"""The connections of an application that can be bound, and how a statement runs on each.

A statement runs in the transaction that is open, or that it begins by itself. A connection that would
commit it at once is refused, since the start would stand while what belongs to it is rolled back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final, cast

import psycopg
import sqlalchemy
from perdure.contract import cannot_be_bound, is_of_class
from perdure.errors import InvalidInput
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from perdure_postgres._bind.values import decoded, numbered
from perdure_postgres._database import Parameters, Row

_DRIVERS: Final = frozenset({"psycopg", "psycopg_async", "asyncpg"})


class BoundConnection(ABC):
    """A connection of the application."""

    blocks: bool = False
    """Whether `fetch` blocks and never suspends."""

    def __init__(self, description: str) -> None:
        self.description = description

    @abstractmethod
    def check(self) -> None:
        """Raise `InvalidInput` if a statement would not run in a transaction of the application."""

    @abstractmethod
    async def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        """The rows of a statement with the places of psycopg; raises what the driver raises."""

    def _refuse_closed(self, value: object) -> None:
        raise InvalidInput(f"{value!r} is closed; bind an open connection")

    def _refuse_autocommit(self, value: object, instead: str) -> None:
        raise InvalidInput(
            f"{value!r} would commit each statement by itself, so that a start would stand although"
            f" the application rolls back; begin a transaction with {instead}, and bind inside it"
        )


def connection_of(value: object) -> BoundConnection:
    """The connection to bind; raises `InvalidInput` for anything else."""
    if isinstance(value, psycopg.Connection):
        return _Psycopg(cast("psycopg.Connection[Any]", value))
    if isinstance(value, psycopg.AsyncConnection):
        return _AsyncPsycopg(cast("psycopg.AsyncConnection[Any]", value))
    if isinstance(value, sqlalchemy.Connection):
        return _SqlAlchemy(value)
    if is_of_class(value, "sqlalchemy.ext.asyncio", "AsyncConnection"):
        return _AsyncSqlAlchemy(value)
    if is_of_class(value, "asyncpg", "Connection") or is_of_class(
        value, "asyncpg.pool", "PoolConnectionProxy"
    ):
        return _Asyncpg(value)
    if hasattr(value, "ensure_connection") and hasattr(value, "vendor"):
        return _Django(value)
    raise cannot_be_bound(
        value,
        instead="a connection of psycopg, asyncpg or SQLAlchemy, or django.db.connection",
    )


class _Psycopg(BoundConnection):
    blocks = True

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        super().__init__("the psycopg connection of this application")
        self._connection = connection

    def check(self) -> None:
        _check_psycopg(self, self._connection)

    async def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        return _fetch(self._connection, statement, parameters)


class _AsyncPsycopg(BoundConnection):
    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        super().__init__("the async psycopg connection of this application")
        self._connection = connection

    def check(self) -> None:
        _check_psycopg(self, self._connection)

    async def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        async with psycopg.AsyncCursor(self._connection, row_factory=tuple_row) as cursor:
            await cursor.execute(statement.encode(), parameters, binary=True, prepare=False)
            return decoded(await cursor.fetchall(), _types(cursor))


class _Django(BoundConnection):
    """Django's connection, which opens and replaces that of the driver by itself."""

    blocks = True

    def __init__(self, wrapper: Any) -> None:
        super().__init__(f"Django's connection {wrapper.alias!r}")
        self._wrapper = wrapper

    def check(self) -> None:
        connection = self._driver()
        if connection.closed:
            self._refuse_closed(connection)
        if connection.autocommit and not _in_transaction(connection):
            self._refuse_autocommit(connection, "`with transaction.atomic()`")

    async def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        return _fetch(self._driver(), statement, parameters)

    def _driver(self) -> psycopg.Connection[Any]:
        if self._wrapper.vendor != "postgresql":
            raise InvalidInput(
                f"{self.description} is one of {self._wrapper.vendor}; bind it with the package of"
                " that database, such as perdure_sqlite.bind"
            )
        self._wrapper.ensure_connection()
        connection = self._wrapper.connection
        if not isinstance(connection, psycopg.Connection):
            raise InvalidInput(
                f"{self.description} uses {type(connection).__module__}; install psycopg 3, which"
                " Django prefers where it is installed"
            )
        return cast("psycopg.Connection[Any]", connection)


class _SqlAlchemy(BoundConnection):
    blocks = True

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        super().__init__("the SQLAlchemy connection of this application")
        self._connection = connection
        _check_dialect(connection.dialect)

    def check(self) -> None:
        _check_sqlalchemy(self, self._connection)

    async def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        return _fetch_sqlalchemy(self._connection, statement, parameters)


class _AsyncSqlAlchemy(BoundConnection):
    def __init__(self, connection: Any) -> None:
        super().__init__("the async SQLAlchemy connection of this application")
        self._connection = connection
        _check_dialect(connection.dialect)

    def check(self) -> None:
        _check_sqlalchemy(self, self._connection.sync_connection)

    async def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        return await self._connection.run_sync(_fetch_sqlalchemy, statement, parameters)


class _Asyncpg(BoundConnection):
    def __init__(self, connection: Any) -> None:
        super().__init__("the asyncpg connection of this application")
        self._connection = connection

    def check(self) -> None:
        if self._connection.is_closed():
            self._refuse_closed(self._connection)
        if not self._connection.is_in_transaction():
            self._refuse_autocommit(self._connection, "`async with connection.transaction()`")

    async def fetch(self, statement: str, parameters: Parameters) -> list[Row]:
        text, given = numbered(statement, parameters)
        prepared = await self._connection.prepare(text)
        types = [attribute.type.oid for attribute in prepared.get_attributes()]
        return decoded([tuple(row) for row in await prepared.fetch(*given)], types)


def _fetch(
    connection: psycopg.Connection[Any], statement: str, parameters: Parameters
) -> list[Row]:
    # A cursor of our own class, whatever cursors and rows the application has chosen.
    with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
        cursor.execute(statement.encode(), parameters, binary=True, prepare=False)
        return decoded(cursor.fetchall(), _types(cursor))


def _types(cursor: psycopg.Cursor[Row] | psycopg.AsyncCursor[Row]) -> list[int]:
    return [column.type_code for column in cursor.description or ()]


def _check_psycopg(
    bound: BoundConnection, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]
) -> None:
    if connection.closed:
        bound._refuse_closed(connection)  # pyright: ignore[reportPrivateUsage] # of this module
    if connection.autocommit and not _in_transaction(connection):
        bound._refuse_autocommit(connection, "`with connection.transaction()`")  # pyright: ignore[reportPrivateUsage] # of this module


def _in_transaction(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
) -> bool:
    return connection.info.transaction_status is not TransactionStatus.IDLE


def _check_dialect(dialect: sqlalchemy.Dialect) -> None:
    if dialect.name != "postgresql" or dialect.driver not in _DRIVERS:
        raise InvalidInput(
            f"the SQLAlchemy connection uses {dialect.name}+{dialect.driver}; bind one of"
            " postgresql+psycopg or postgresql+asyncpg"
        )


def _check_sqlalchemy(bound: BoundConnection, connection: sqlalchemy.Connection | None) -> None:
    if connection is None or connection.closed:
        bound._refuse_closed(connection)  # pyright: ignore[reportPrivateUsage] # of this module
        return
    # The drivers, and SQLAlchemy's adapters of the async ones, have this attribute.
    if getattr(connection.connection.dbapi_connection, "autocommit", False):
        bound._refuse_autocommit(connection, "`engine.begin()`")  # pyright: ignore[reportPrivateUsage] # of this module


def _fetch_sqlalchemy(
    connection: sqlalchemy.Connection, statement: str, parameters: Parameters
) -> list[Row]:
    # Through SQLAlchemy, which must know that a transaction has begun.
    if connection.dialect.driver == "asyncpg":
        text, given = numbered(statement, parameters)
        result = connection.exec_driver_sql(text, given)
    else:
        given = parameters if isinstance(parameters, Mapping) else tuple(parameters)
        result = connection.exec_driver_sql(statement, cast("Any", given))
    description: Any = result.cursor.description if result.cursor is not None else ()
    types = [column[1] for column in description]
    return decoded([tuple(row) for row in result.all()], types)
