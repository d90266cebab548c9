"""Clients on a connection of the application: what they start commits with it, or not at all."""

import asyncio
import itertools
import json
import subprocess
import sys
from datetime import timedelta
from functools import partial

import asyncpg
import perdure
import psycopg
import pytest
from perdure import BlockingClient, Client, NotFound, Running
from perdure.contract import ProviderUrl, Serves, WorkWait
from perdure.errors import (
    ClientUnusable,
    InvalidInput,
    StorageFailed,
    StorageUnavailable,
)
from perdure_conformance.bound_clients import Application, BoundClients
from perdure_postgres import PostgresOptions, bind
from sqlalchemy import URL, create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

_NUMBERS = itertools.count(1)


@pytest.fixture
def namespace(worker_id):
    return f"bound-{worker_id}-{next(_NUMBERS)}"


@pytest.fixture
def options(postgres_url):
    return PostgresOptions.from_url(ProviderUrl.parse(postgres_url))


@pytest.fixture
async def provider(postgres_url, namespace):
    """The ordinary provider, which sees what is committed; it has made the schema."""
    async with perdure.open_provider(f"{postgres_url}&namespace={namespace}") as provider:
        yield provider


@pytest.fixture
def orders(provider, options, namespace):
    """The name of a table of the application, with nothing in it."""
    name = f'"orders-{namespace}"'
    with psycopg.connect(**options.conninfo, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE {name} (id text PRIMARY KEY)")
        yield name
        connection.execute(f"DROP TABLE {name}")


async def exists(provider, instance):
    return await provider.read_instance(instance) is not None


@pytest.fixture
def connection(options):
    """A connection of the application, which is rolled back at the end."""
    with psycopg.connect(**options.conninfo) as connection:
        yield connection
        if not connection.closed:
            connection.rollback()


class Rollback(Exception):
    pass


class Ways:
    """Each inserts an order and starts its orchestration, and then raises, or does not."""

    def __init__(self, options, orders, namespace):
        self.options = options
        self.insert = f"INSERT INTO {orders} VALUES ('order-1')"  # noqa: S608 # a name of this test
        self.namespace = namespace
        self.url = URL.create(
            "postgresql+psycopg",
            username=options.user,
            database=options.database,
            query=options.driver,
        )

    def _blocking(self, connection):
        BlockingClient(bind(connection, namespace=self.namespace)).start_orchestration(
            "order-1", "process"
        )

    async def _async(self, connection):
        await Client(bind(connection, namespace=self.namespace)).start_orchestration(
            "order-1", "process"
        )

    async def psycopg(self, fails):
        with psycopg.connect(**self.options.conninfo) as connection:
            connection.execute(self.insert)
            self._blocking(connection)
            if fails:
                raise Rollback

    async def async_psycopg(self, fails):
        connecting = psycopg.AsyncConnection.connect(**self.options.conninfo, autocommit=True)
        async with await connecting as connection, connection.transaction():
            await connection.execute(self.insert)
            await self._async(connection)
            if fails:
                raise Rollback

    async def async_client_of_psycopg(self, fails):
        with psycopg.connect(**self.options.conninfo) as connection:
            connection.execute(self.insert)
            await self._async(connection)
            if fails:
                raise Rollback

    async def asyncpg(self, fails):
        connection = await asyncpg.connect(
            user=self.options.user,
            database=self.options.database,
            host=self.options.driver["host"],
        )
        try:
            # An application may have chosen what JSON becomes.
            await connection.set_type_codec(
                "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
            )
            async with connection.transaction():
                await connection.execute(self.insert)
                await self._async(connection)
                if fails:
                    raise Rollback
        finally:
            await connection.close()

    async def sqlalchemy(self, fails):
        engine = create_engine(self.url, poolclass=NullPool)
        with engine.begin() as connection:
            self._blocking(connection)
            connection.execute(text(self.insert))
            if fails:
                raise Rollback

    async def sqlalchemy_session(self, fails):
        engine = create_engine(self.url, poolclass=NullPool)
        with Session(engine) as session, session.begin():
            self._blocking(session.connection())
            session.execute(text(self.insert))
            if fails:
                raise Rollback

    async def sqlalchemy_asyncpg(self, fails):
        engine = create_async_engine(
            self.url.set(drivername="postgresql+asyncpg"), poolclass=NullPool
        )
        async with engine.begin() as connection:
            await self._async(connection)
            await connection.execute(text(self.insert))
            if fails:
                raise Rollback

    async def sqlalchemy_async_session(self, fails):
        engine = create_async_engine(self.url, poolclass=NullPool)
        async with AsyncSession(engine) as session, session.begin():
            await self._async(await session.connection())
            await session.execute(text(self.insert))
            if fails:
                raise Rollback


WAYS = sorted(name for name in vars(Ways) if not name.startswith("_"))


class TestBoundClients(BoundClients):
    @pytest.fixture
    def application(self, provider, connection, namespace):
        bound = partial(bind, connection)
        return Application(
            bind=lambda **given: bound(**{"namespace": namespace, **given}),
            commit=connection.commit,
        )


@pytest.mark.parametrize("fails", [False, True], ids=["committed", "rolled back"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_row_and_its_orchestration_commit_together_or_not_at_all(
    way, fails, provider, options, orders, namespace
):
    run = getattr(Ways(options, orders, namespace), way)
    if fails:
        with pytest.raises(Rollback):
            await run(fails)
    else:
        await run(fails)

    with psycopg.connect(**options.conninfo) as connection:
        rows = connection.execute(f"SELECT id FROM {orders}").fetchall()  # noqa: S608 # as above
    assert rows == ([] if fails else [("order-1",)])
    assert await exists(provider, "order-1") is not fails


DJANGO = """
import json, sys
from django.conf import settings
given = json.loads(sys.argv[1])
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **given["database"]}})
from django.db import connection, transaction
from perdure import BlockingClient
from perdure.errors import InvalidInput
from perdure_postgres import bind

def start(instance):
    client = BlockingClient(bind(connection, namespace=given["namespace"]))
    client.start_orchestration(instance, "process")
    assert client.get_orchestration_status(instance).__class__.__name__ == "Running"

with transaction.atomic():
    start("committed")
    try:
        with transaction.atomic():
            start("inner")
            raise RuntimeError
    except RuntimeError:
        pass
try:
    with transaction.atomic():
        start("rolled-back")
        raise RuntimeError
except RuntimeError:
    pass
try:
    start("outside")
except InvalidInput as error:
    print(error)
"""


@pytest.mark.slow
async def test_djangos_connection_is_bound_in_its_atomic_blocks(provider, options, namespace):
    database = {
        "NAME": options.database,
        "USER": options.user,
        "HOST": options.driver.get("host", ""),
        "PORT": options.driver.get("port", ""),
    }
    given = json.dumps({"database": database, "namespace": namespace})

    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", DJANGO, given],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "begin a transaction with `with transaction.atomic()`" in done.stdout
    found = [
        name
        for name in ("committed", "inner", "rolled-back", "outside")
        if await exists(provider, name)
    ]
    assert found == ["committed"]


async def test_a_savepoint_that_is_rolled_back_takes_its_start_along(
    provider, connection, namespace
):
    client = BlockingClient(bind(connection, namespace=f"{namespace}-new"))

    with connection.transaction(force_rollback=True):
        # The namespace is new, and its creation is rolled back as well.
        client.start_orchestration("order-1", "process")
    assert client.get_orchestration_status("order-1") == NotFound()
    client.start_orchestration("order-1", "process")
    assert client.get_orchestration_status("order-1") == Running()


async def test_the_commit_wakes_a_worker_that_waits(provider, connection, namespace):
    serves = Serves(orchestrations={"process": frozenset()})
    waiting = asyncio.create_task(
        provider.wait_for_work(WorkWait(timeout=timedelta(seconds=30), serves=serves))
    )
    listener = provider._opened("test").signals.post
    async with asyncio.timeout(5):
        while not listener.is_listening:  # noqa: ASYNC110 # it has no event to wait for
            await asyncio.sleep(0.005)
    BlockingClient(bind(connection, namespace=namespace)).start_orchestration("order-1", "process")
    # It has looked, and is told of nothing yet.
    await provider.read_instance("order-1")
    assert not waiting.done()

    connection.commit()

    async with asyncio.timeout(5):
        await waiting


async def test_a_blocking_client_of_an_async_connection_is_refused(provider, options, namespace):
    async with await psycopg.AsyncConnection.connect(**options.conninfo) as connection:
        client = BlockingClient(bind(connection, namespace=namespace))
        with pytest.raises(ClientUnusable, match="use Client, or bind a connection that blocks"):
            client.start_orchestration("order-1", "process")


async def test_a_schema_that_is_missing_is_named(provider, connection):
    client = BlockingClient(bind(connection, schema="nowhere"))

    with pytest.raises(StorageFailed, match="no schema 'nowhere' .* migrate URL"):
        client.start_orchestration("order-1", "process")


async def test_an_aborted_transaction_is_named_and_nothing_is_tried_again(
    provider, connection, namespace
):
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM nowhere")

    with pytest.raises(StorageFailed, match="an earlier statement of the transaction failed"):
        BlockingClient(bind(connection, namespace=namespace)).start_orchestration("a", "process")


async def test_a_lost_connection_asks_for_the_transaction_again(provider, connection, namespace):
    client = BlockingClient(bind(connection, namespace=namespace))
    pid = connection.info.backend_pid
    with psycopg.connect(connection.info.dsn, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    with pytest.raises(StorageUnavailable, match="run it again") as raised:
        client.start_orchestration("order-1", "process")
    assert not raised.value.retryable
    with pytest.raises(InvalidInput, match="is closed; bind an open connection"):
        bind(connection)


async def test_a_connection_that_commits_by_itself_is_refused(options, provider):
    conninfo = options.conninfo
    with psycopg.connect(**conninfo, autocommit=True) as connection:
        with pytest.raises(InvalidInput, match=r"begin a transaction with `with connection.tr"):
            bind(connection)
        with connection.transaction():
            bound = bind(connection)
        with pytest.raises(InvalidInput, match="would commit each statement by itself"):
            BlockingClient(bound).start_orchestration("order-1", "process")
    engine = create_engine(
        Ways(options, "", "").url, isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    with engine.connect() as connection, pytest.raises(InvalidInput, match=r"`engine.begin\(\)`"):
        bind(connection)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("postgresql://ada:secret@db/shop", "'postgresql://.*db/shop' cannot be bound"),
        (7, "an object of builtins.int cannot be bound; pass a connection of psycopg"),
        (Session(), r"pass its connection, `session.connection\(\)`"),
    ],
)
def test_what_cannot_be_bound_is_named(value, said):
    with pytest.raises(InvalidInput, match=said) as raised:
        bind(value)
    assert "secret" not in str(raised.value)


def test_a_connection_to_another_database_is_refused():
    with (
        create_engine("sqlite://").connect() as connection,
        pytest.raises(InvalidInput, match=r"uses sqlite\+pysqlite; bind one of postgresql"),
    ):
        bind(connection)
