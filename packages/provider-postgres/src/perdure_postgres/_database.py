"""Connections to one database, and the statements that run on them.

Each call of the contract is one statement, which is a transaction of its own: one round trip. A
connection keeps nothing between two statements, and no statement is prepared, so that a pooler in
transaction mode may stand between. The plans are kept by the server, inside the functions.

The server ends a statement that lasts too long, so that none goes on after its caller is gone: by
`statement_timeout`, which a new connection asks for, and by `lock_timeout`, which the functions set
for themselves. A pooler that takes no settings refuses such a connection; it is then made without
them, and `lock_timeout` remains.

A statement whose transaction the server rolled back is run again, a few times; one that broke off in
the middle too, where the caller says that it may be repeated. The tries last about two seconds: a
server that restarts costs its callers this wait, and no error. None begins after `call_timeout`:
where each waits for a server that is silent, they would last for minutes.

The provider objects of an event loop that name the same database share their connections.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias
from weakref import WeakKeyDictionary

import psycopg
from perdure.errors import ProviderError, StorageClosed

from perdure_postgres._errors import (
    has_changed_nothing,
    has_no_lock,
    has_wrong_server,
    is_broken_off,
    provider_error,
    refuses_settings,
)

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = psycopg.AsyncConnection[Row]
Parameters: TypeAlias = Sequence[object] | Mapping[str, object]

_TRIES: Final = 8
_FIRST_PAUSE: Final = 0.01
_PAUSE_GROWS: Final = 3
_LONGEST_PAUSE: Final = 0.5


class Pool:
    """A few connections, opened when they are needed, for all provider objects that share them."""

    def __init__(self, conninfo: dict[str, str], *, size: int, statement_timeout: float) -> None:
        self.users = 0
        self._conninfo = conninfo
        self._settings = {
            # After what the environment asks for, which this replaces.
            "options": f"{os.environ.get('PGOPTIONS', '')}"
            f" -c statement_timeout={max(1, round(statement_timeout * 1000))}".strip()
        }
        self._free: list[Connection] = []
        self._slots = asyncio.Semaphore(size)

    async def close(self) -> None:
        """Close the connections; those in use close when their statement ends."""
        while self._free:
            with suppress(psycopg.Error, OSError):
                await self._free.pop().close()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """A connection for one statement; one that broke is not used again."""
        async with self._slots:
            connection = self._free.pop() if self._free else await self._connect()
            is_usable = False
            try:
                yield connection
                is_usable = True
            except psycopg.Error as error:
                # A refusal leaves the connection as it was; what broke off does not.
                is_usable = not is_broken_off(error)
                if connection.broken or has_wrong_server(error):
                    # The others lead to the same server: after a restart each would cost a try.
                    is_usable = False
                    await self.close()
                raise
            finally:
                if is_usable and not connection.closed and self.users:
                    self._free.append(connection)
                else:
                    with suppress(psycopg.Error, OSError):
                        await connection.close()

    async def _connect(self) -> Connection:
        try:
            return await connect(self._conninfo | self._settings)
        except psycopg.OperationalError as error:
            if not (self._settings and refuses_settings(error)):
                raise
        self._settings = {}
        return await connect(self._conninfo)


_POOLS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, Pool]]] = (
    WeakKeyDictionary()
)
"""The pools of each event loop, by what they connect to."""


class Database:
    """The statements of one provider object; `async with` opens and closes it."""

    def __init__(
        self, conninfo: dict[str, str], *, storage: str, size: int, call_timeout: float
    ) -> None:
        self.storage = storage
        self.before_statement: Callable[[str], None] | None = None
        """Called with each statement before it runs, for tests that make one fail."""
        self.first_pause = _FIRST_PAUSE
        """Seconds before the second try of a statement."""
        self._call_timeout = call_timeout
        self._key = (frozenset(conninfo.items()), size, call_timeout)
        self._pools = _POOLS.setdefault(asyncio.get_running_loop(), {})
        self._pool = self._pools.setdefault(
            self._key, Pool(conninfo, size=size, statement_timeout=call_timeout)
        )
        self._pool.users += 1
        self._is_closed = False

    async def close(self) -> None:
        """Refuse further statements; the last user of the connections closes them."""
        if self._is_closed:
            return
        self._is_closed = True
        self._pool.users -= 1
        if not self._pool.users:
            self._pools.pop(self._key, None)
            await self._pool.close()

    async def fetch(
        self, operation: str, statement: str, parameters: Parameters, *, repeatable: bool
    ) -> list[Row]:
        """The rows of a statement; raises a `ProviderError`: `RowsHeld` if it did not get a lock.

        With `repeatable`, a statement that broke off is repeated although it may have taken effect.
        """
        pause = self.first_pause
        until = time.monotonic() + self._call_timeout
        for left in reversed(range(_TRIES)):
            if self._is_closed:
                raise StorageClosed(
                    f"the provider of {self.storage} is closed; open it again",
                    operation=operation,
                )
            try:
                return await self._run(statement, parameters)
            except ProviderError:
                raise
            except Exception as error:
                again = has_changed_nothing(error) or (repeatable and is_broken_off(error))
                is_last = left == 0 or time.monotonic() >= until
                if not again or is_last or has_no_lock(error):
                    raise provider_error(
                        error, storage=self.storage, operation=operation
                    ) from error
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 # no secret
            pause = min(_PAUSE_GROWS * pause, _LONGEST_PAUSE)
        raise AssertionError("the last try returns or raises")

    async def _run(self, statement: str, parameters: Parameters) -> list[Row]:
        if self.before_statement is not None:
            self.before_statement(statement)
        async with self._pool.connection() as connection, asyncio.timeout(self._call_timeout):
            cursor = await connection.execute(statement.encode(), parameters, binary=True)
            return await cursor.fetchall() if cursor.description else []


async def connect(conninfo: dict[str, str]) -> Connection:
    """A connection without a transaction of its own, on which no statement is prepared."""
    return await psycopg.AsyncConnection.connect(
        **conninfo,  # pyright: ignore[reportArgumentType] # all are texts, which libpq takes
        autocommit=True,
        prepare_threshold=None,
    )
