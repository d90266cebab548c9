"""Opening a database: everything that exists while a provider is open."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import psycopg
from perdure.clock import Clock
from perdure.errors import ProviderError, StorageFailed

from perdure_postgres._batches import Batch
from perdure_postgres._calls import Calls
from perdure_postgres._database import Database, connect
from perdure_postgres._errors import provider_error
from perdure_postgres._held import HeldRows
from perdure_postgres._histories import RunningHistories
from perdure_postgres._leftovers import Leftovers
from perdure_postgres._options import PostgresOptions
from perdure_postgres._schema.checking import check_version, migrate, read_state_statement
from perdure_postgres._schema.migrations import VERSION, digest
from perdure_postgres._signals import Signals, channel_of
from perdure_postgres._statements import Statements
from perdure_postgres._texts import stored
from perdure_postgres._transactions import Transactions
from perdure_postgres._waits import News, Waits
from perdure_postgres._writes.changes import Change
from perdure_postgres._writes.writer import Writer


class OpenDatabase:
    """The parts of an open provider, and the order in which they close."""

    def __init__(
        self, database: Database, options: PostgresOptions, namespace: int, clock: Clock
    ) -> None:
        self.database = database
        self.calls = Calls(database, schema=options.schema_name, namespace=namespace)
        self.states = Batch(self.calls, "read_instances")
        self.deletions = Batch(self.calls, "delete_ended", repeatable=False)
        self.leftovers = Leftovers(self.calls)
        self.held = HeldRows(self.calls, patience=options.call_timeout)
        self.statements = Statements(options.schema_name, namespace)
        self.waits = Waits(clock, storage=database.storage)
        self.histories = RunningHistories()
        self.signals = Signals(
            database,
            options.listening_conninfo,
            channel=channel_of(options.schema_name, namespace),
            notify=options.notify,
            hear=self.waits.hear,
        )
        self.writer = Writer(
            database,
            clock,
            function=self.calls.function("write"),
            namespace=namespace,
            durable=options.durability == "full",
            on_write=self._tell_of,
            waiters=self.waits.until_end_of,
            held=self.held,
            histories=self.histories,
        )

        self.transactions = Transactions(
            options.conninfo,
            storage=database.storage,
            function=self.calls.function("write"),
            namespace=namespace,
            clock=clock,
            size=options.connections,
            tell=self.tell,
        )

    def tell(self, news: News) -> None:
        """Wake the waiting calls of this process, and tell other processes."""
        self.waits.hear(news)
        self.signals.tell(news)

    async def close(self) -> None:
        """Close the parts in an order in which none uses a closed one."""
        await self.waits.close()
        await self.writer.drain()
        await self.held.close()
        await self.states.drain()
        await self.deletions.drain()
        await self.leftovers.drain()
        await self.transactions.close()
        await self.signals.close()
        await self.database.close()

    def _tell_of(self, changes: Sequence[Change[object]]) -> None:
        news = News(
            turns=any(change.makes_turns for change in changes),
            activities=any(change.makes_activities for change in changes),
            instances=[name for change in changes for name in change.changed],
            turning=[name for change in changes for name in change.turning],
        )
        self.tell(news)


async def open_database(options: PostgresOptions, clock: Clock) -> OpenDatabase:
    """Connect, check the schema, and find the namespace; raises a `ProviderError`."""
    database = Database(
        options.conninfo,
        storage=options.description,
        size=options.connections,
        call_timeout=options.call_timeout,
    )
    try:
        await _check_schema(database, options)
        finder = Calls(database, schema=options.schema_name, namespace=0)
        [(namespace,)] = await finder.read_plain(
            "open", "open_namespace", stored(options.namespace)
        )
        return OpenDatabase(database, options, namespace, clock)
    except BaseException:
        await database.close()
        raise


async def _check_schema(database: Database, options: PostgresOptions) -> None:
    """Raise unless the schema fits this package; with `create` it is made to fit."""
    version, functions = await _read_state(database, options)
    if options.create and (version is None or version <= VERSION) and functions != digest():
        await make_schema(options)
        version, _ = await _read_state(database, options)
    check_version(version, schema=options.schema_name, storage=database.storage)


async def _read_state(
    database: Database, options: PostgresOptions
) -> tuple[int | None, str | None]:
    statement = read_state_statement(options.schema_name)
    try:
        [(version, functions)] = await database.fetch("open", statement, (), repeatable=True)
    except StorageFailed as error:
        if getattr(error.__cause__, "sqlstate", None) in ("42883", "3F000"):
            return None, None
        raise
    return version, functions


async def make_schema(options: PostgresOptions) -> int:
    """Make the schema or bring it up to date; returns the version that it had."""
    connection = None
    try:
        connection = await connect(options.conninfo)
        return await migrate(connection, options.schema_name)
    except ProviderError:
        raise
    except (psycopg.Error, OSError) as error:
        raise provider_error(error, storage=options.description, operation="open") from error
    finally:
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                await connection.close()
