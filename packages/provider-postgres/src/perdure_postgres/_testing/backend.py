"""The backend for the conformance suite: it changes stored data by plain SQL, beside the provider.

Only the suite imports it, through a hook.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final, cast
from urllib.parse import quote

from perdure.contract import Provider, ProviderUrl
from perdure_conformance.backend import Declaration, UrlBackend
from perdure_conformance.tampering import (
    EFFECTS,
    FAILING_STEPS,
    LOST_EVENTS,
    RAW_HISTORY,
    SPOILED_INSTANCES,
    STORAGE_ERRORS,
    EventPlace,
    Outage,
)
from psycopg import AsyncConnection, Connection
from psycopg.errors import DiskFull

from perdure_postgres._database import Database, connect
from perdure_postgres._histories import events_of
from perdure_postgres._options import PostgresOptions
from perdure_postgres._provider import PostgresProvider
from perdure_postgres._schema.migrations import quoted
from perdure_postgres._testing.failing_statements import (
    OUTAGES,
    FailingStatements,
    failing_statements,
)
from perdure_postgres._texts import stored

_WHICH: Final = """(
    SELECT i.number FROM {schema}.instances AS i
    JOIN {schema}.namespaces AS n ON n.number = i.namespace
    WHERE n.name = %s AND i.id = %s)"""
_TAKE: Final = f"""
    DELETE FROM {{schema}}.events
    WHERE instance = {_WHICH} AND execution = %s AND number >= %s AND number - count < %s
    RETURNING instance, number, count, data
"""  # noqa: S608 # made of constants
_PUT: Final = (
    "INSERT INTO {schema}.events (instance, execution, number, data) VALUES (%s, %s, %s, %s)"
)
_SPOIL: Final = f"""
    UPDATE {{schema}}.instances SET status = 'Spoiled' WHERE number = {_WHICH}
"""  # noqa: S608 # made of constants
_LOCK: Final = 0x65666665637473  # "effects"


class DatabaseBackend(UrlBackend):
    """A database, with ways to tamper with what it stores."""

    def __init__(self, url: str, declaration: Declaration) -> None:
        tampering = frozenset(
            {EFFECTS, FAILING_STEPS, LOST_EVENTS, RAW_HISTORY, SPOILED_INSTANCES, STORAGE_ERRORS}
        )
        self._has_effects = False
        self._options = PostgresOptions.from_url(ProviderUrl.parse(url))
        description = declaration.description
        if (host := self._options.driver.get("host", "")).startswith("/"):
            # A report is read elsewhere, where the folder of a socket says nothing.
            description = description.replace(quote(host, safe="/"), "(a socket)")
        super().__init__(url, replace(declaration, tampering=tampering, description=description))

    async def lose_event(self, place: EventPlace) -> None:
        """Delete the event from its row."""
        await self._change_event(place, None)

    async def replace_event(self, place: EventPlace, data: bytes) -> None:
        """Write other bytes into the event's row."""
        await self._change_event(place, data)

    async def spoil_instance(self, namespace: str, instance: str) -> None:
        """Write an unknown status into the instance's row."""
        await self._change(_SPOIL, stored(namespace), stored(instance))

    async def write_effect(self, connection: object, key: str) -> None:
        """Insert the key into a table of the suite's own."""
        await self._make_effects()
        statement = self._named("INSERT INTO {schema}.conformance_effects VALUES (%s)")
        if isinstance(connection, AsyncConnection):
            await cast("AsyncConnection[object]", connection).execute(statement, (key,))
        else:
            write = cast("Connection[object]", connection).execute
            await asyncio.to_thread(write, statement, (key,))

    async def read_effects(self) -> Sequence[str]:
        """The keys in that table."""
        await self._make_effects()
        connection = await connect(self._options.conninfo)
        try:
            cursor = await connection.execute(
                self._named("SELECT key FROM {schema}.conformance_effects")
            )
            return [key for (key,) in await cursor.fetchall()]
        finally:
            await connection.close()

    async def _make_effects(self) -> None:
        if self._has_effects:
            return
        connection = await connect(self._options.conninfo)
        try:
            async with connection.transaction():
                # Several runs may make the table at once.
                await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                await connection.execute(
                    self._named(
                        "CREATE TABLE IF NOT EXISTS {schema}.conformance_effects (key text)"
                    )
                )
        finally:
            await connection.close()
        self._has_effects = True

    def _named(self, statement: str) -> bytes:
        return statement.replace("{schema}", quoted(self._options.schema_name)).encode()

    def fail_at(self, provider: Provider, step: int) -> AbstractContextManager[FailingStatements]:
        """Let a statement fail, as if the server's disk were full."""
        return failing_statements(_database_of(provider), step, DiskFull, once=True)

    @property
    def outages(self) -> Sequence[Outage]:
        """What a server and the way to it may do."""
        return tuple(OUTAGES)

    def break_storage(
        self, provider: Provider, outage: Outage, *, step: int
    ) -> AbstractContextManager[FailingStatements]:
        """Let a statement and all after it fail as in this outage."""
        return failing_statements(_database_of(provider), step, OUTAGES[outage], once=False)

    async def _change_event(self, place: EventPlace, data: bytes | None) -> None:
        """Put the events of a row back as rows of their own, with one changed, or without it."""
        key = stored(place.namespace), stored(place.instance), place.execution
        connection = await connect(self._options.conninfo)
        try:
            async with connection.transaction():
                cursor = await connection.execute(
                    self._named(_TAKE), (*key, place.number, place.number), binary=True
                )
                for number, last, count, found in await cursor.fetchall():
                    for event in events_of(last, count, found):
                        kept = data if event.number == place.number else event.data
                        if kept is not None:
                            row = number, place.execution, event.number, kept
                            await connection.execute(self._named(_PUT), row)
        finally:
            await connection.close()
        if cursor.rowcount != 1:
            raise LookupError(f"{cursor.rowcount} rows have {place}, expected one")

    async def _change(self, statement: str, *parameters: object) -> None:
        text = statement.replace("{schema}", quoted(self._options.schema_name))
        connection = await connect(self._options.conninfo)
        try:
            changed = (await connection.execute(text.encode(), parameters)).rowcount
        finally:
            await connection.close()
        if changed != 1:
            raise LookupError(f"{changed} rows were changed with {parameters}, expected one")


def _database_of(provider: Provider) -> Database:
    if not isinstance(provider, PostgresProvider):
        raise TypeError(f"{provider!r} is not a provider object of this backend")
    return provider.database
