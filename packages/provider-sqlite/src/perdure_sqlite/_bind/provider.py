"""What a client needs to start and to raise, on a connection of the application.

Each call is an operation of the ordinary provider inside a savepoint, so that one which fails in the
middle leaves nothing behind. What the ordinary writer keeps from one group to the next (the number of
the namespace, queues, the stamp) is read again each time: the transaction may have been rolled back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from perdure.clock import Clock
from perdure.contract import (
    DELETION,
    LISTING,
    BoundAdmin,
    BoundProvider,
    InstanceState,
    Message,
    NewInstance,
    ProviderAdmin,
)
from perdure.errors import (
    PerdureError,
    ProviderError,
    StorageCorrupt,
    StorageFailed,
    StorageUnavailable,
)

from perdure_sqlite._admin import SQLiteAdmin
from perdure_sqlite._bind.connections import BoundConnection, Cursor
from perdure_sqlite._file.errors import DamagedRecord, is_busy
from perdure_sqlite._operations import deletion, instances
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._schema.migrations import VERSION
from perdure_sqlite._sql.instances import READ_INSTANCE
from perdure_sqlite._sql.rows import state_of
from perdure_sqlite._waiting.damage_mark import DamageMark
from perdure_sqlite._writes.transaction import Transaction

T = TypeVar("T")

_NAMESPACE = "SELECT number FROM perdure_namespaces WHERE name = ?"
_ADD_NAMESPACE = "INSERT INTO perdure_namespaces (name, stamp) VALUES (?, 0)"
_HAS_TABLES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'perdure_meta'"
_VERSION = "SELECT value FROM perdure_meta WHERE key = 'schema_version'"


class BoundSQLiteProvider(BoundProvider):
    """Starts, raises and cancels in the application's transaction."""

    capabilities = frozenset({DELETION, LISTING})

    def __init__(self, connection: BoundConnection, *, namespace: str, clock: Clock) -> None:
        super().__init__(clock=clock, description=connection.description, blocks=connection.blocks)
        self._connection = connection
        self._namespace = namespace

    async def create_instance(self, new: NewInstance) -> None:
        await self._write("create_instance", lambda at: instances.create_instance(at, new))

    async def send(self, messages: Sequence[Message]) -> None:
        each = tuple(messages)
        await self._write("send", lambda at: instances.send(at, each))

    async def read_instance(self, instance: str) -> InstanceState | None:
        def read(cursor: Cursor) -> InstanceState | None:
            number = self._find_namespace(cursor)
            found = cursor.execute(READ_INSTANCE, (number, instance)).fetchone()
            return None if found is None else state_of(found)

        return await self._run("read_instance", read)

    async def delete_instance(self, instance: str, *, incarnation: str) -> bool:
        # What belongs to it is removed by the next deletion of an ordinary provider.
        return await self._write(
            "delete_instance", lambda at: deletion.delete_instance(at, instance, incarnation)
        )

    def as_management_capability(self) -> ProviderAdmin:
        return BoundAdmin(self._admin)

    async def _admin(self) -> SQLiteAdmin:
        number = await self._run("look", self._find_namespace)
        reader = _BoundReader(number, self._run)
        return SQLiteAdmin(reader, self.clock, DamageMark(self.clock, lambda: None))

    async def _write(self, operation: str, write: Callable[[Transaction], T]) -> T:
        def carry_out(cursor: Cursor) -> T:
            if not self._connection.state().in_transaction:
                # At once with the lock for writing: a later one may not be had any more.
                cursor.execute("BEGIN IMMEDIATE")
            with _savepoint(cursor):
                number = self._find_namespace(cursor) or _add_namespace(cursor, self._namespace)
                transaction = Transaction(
                    cast("sqlite3.Cursor", cursor), namespace=number, clock=self.clock
                )
                transaction.begin()
                transaction.now = self.clock.now()
                result = write(transaction)
                transaction.finish()
                return result

        return await self._run(operation, carry_out)

    async def _run(self, operation: str, run: Callable[[Cursor], T]) -> T:
        self._connection.check()
        try:
            return await self._connection.run(run)
        except PerdureError:
            raise
        except (sqlite3.Error, DamagedRecord, MemoryError) as error:
            raise self._error(operation, error) from error

    def _error(self, operation: str, error: BaseException) -> ProviderError:
        name = self._connection.description
        if is_busy(error):
            return StorageUnavailable(
                f"{name} did not get the lock for {operation} ({error}); roll the transaction back,"
                " and run it again, with BEGIN IMMEDIATE at its start",
                operation=operation,
                retryable=False,
            )
        if isinstance(error, DamagedRecord):
            return StorageCorrupt(f"{error}; restore it from a backup", operation=operation)
        return StorageFailed(
            f"{name} refused {operation} ({error}); roll the transaction back, and see the cause",
            operation=operation,
        )

    def _find_namespace(self, cursor: Cursor) -> int:
        """The number of the namespace, 0 where there is none; raises if the tables do not fit."""
        name = self._connection.description
        if cursor.execute(_HAS_TABLES).fetchone() is None:
            raise StorageFailed(
                f"the file of {name} has no tables of Perdure; open it once with"
                " perdure.open_provider('sqlite:///…'), which creates them",
                operation="open",
            )
        (version,) = cursor.execute(_VERSION).fetchone()
        if version != str(VERSION):
            raise StorageFailed(
                f"the file of {name} has schema {version}, and this perdure-sqlite works with"
                f" {VERSION}; open it once with perdure.open_provider, or upgrade perdure-sqlite",
                operation="open",
            )
        found = cursor.execute(_NAMESPACE, (self._namespace,)).fetchone()
        return 0 if found is None else int(found[0])


class _BoundReader(Reader):
    """Reads on the application's connection, in its transaction."""

    def __init__(  # pyright: ignore[reportMissingSuperCall] # it has no file of its own
        self, namespace: int, run: Callable[..., Awaitable[Any]]
    ) -> None:
        self.namespace = namespace
        self._run = run

    async def run(self, name: str, read: Callable[[Reader], T]) -> T:
        def on(cursor: Cursor) -> T:
            reader = _BoundReader(self.namespace, self._run)
            reader.execute = cursor.execute
            return read(reader)

        return await self._run(name, on)

    @contextmanager
    def snapshot(self) -> Generator[None]:
        yield

    async def scan(
        self, name: str, statement: str, parameters: tuple[object, ...]
    ) -> list[tuple[object, ...]]:
        return await self.run(name, lambda at: at.execute(statement, parameters).fetchall())

    def check_file(self, name: str) -> None:
        return

    async def close(self) -> None:
        return


@contextmanager
def _savepoint(cursor: Cursor) -> Generator[None]:
    """What the block wrote is undone if it fails; a refusal has written nothing."""
    cursor.execute("SAVEPOINT perdure_bound")
    try:
        yield
    except BaseException as error:
        if not isinstance(error, PerdureError):
            cursor.execute("ROLLBACK TO perdure_bound")
        cursor.execute("RELEASE perdure_bound")
        raise
    cursor.execute("RELEASE perdure_bound")


def _add_namespace(cursor: Cursor, name: str) -> int:
    return int(cursor.execute(_ADD_NAMESPACE, (name,)).lastrowid)
