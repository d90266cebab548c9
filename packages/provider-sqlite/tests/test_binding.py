"""Clients on a connection of the application: what they start commits with it, or not at all."""

import asyncio
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from functools import partial

import aiosqlite
import perdure
import pytest
from perdure import BlockingClient, Client, NotFound, Running
from perdure.contract import Serves, SystemClock, WorkWait
from perdure.errors import (
    ClientUnusable,
    InvalidInput,
    StorageFailed,
    StorageUnavailable,
)
from perdure_conformance.bound_clients import Application, BoundClients
from perdure_sqlite import bind
from sqlalchemy import create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

INSERT = "INSERT INTO orders VALUES ('order-1')"


@pytest.fixture
async def file(tmp_path):
    """A file with a table of the application."""
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)")
    return file


@pytest.fixture
async def provider(file):
    """The ordinary provider, which sees what is committed; it has made its tables."""
    async with perdure.open_provider(f"sqlite:///{file}", clock=SystemClock()) as provider:
        yield provider


@pytest.fixture
def connection(provider, file):
    """A connection of the application, as Python makes it by default."""
    with closing(sqlite3.connect(file, timeout=0)) as connection:
        yield connection


class Rollback(Exception):
    pass


def blocking(connection):
    BlockingClient(bind(connection)).start_orchestration("order-1", "process")


async def waiting(connection):
    await Client(bind(connection)).start_orchestration("order-1", "process")


class Ways:
    """Each inserts an order and starts its orchestration, and then raises, or does not."""

    def __init__(self, file):
        self.file = file

    async def sqlite3(self, fails):
        with closing(sqlite3.connect(self.file)) as connection, connection:
            blocking(connection)
            connection.execute(INSERT)
            if fails:
                raise Rollback

    async def sqlite3_with_an_explicit_begin(self, fails):
        with closing(sqlite3.connect(self.file, isolation_level=None)) as connection, connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            connection.execute(INSERT)
            await waiting(connection)
            if fails:
                raise Rollback

    async def aiosqlite(self, fails):
        async with aiosqlite.connect(self.file) as connection:
            connection.row_factory = sqlite3.Row
            await waiting(connection)
            await connection.execute(INSERT)
            if fails:
                await connection.rollback()
                raise Rollback
            await connection.commit()

    async def sqlalchemy(self, fails):
        engine = create_engine(f"sqlite:///{self.file}")
        with closing(_Engine(engine)), engine.begin() as connection:
            blocking(connection)
            connection.execute(text(INSERT))
            if fails:
                raise Rollback

    async def sqlalchemy_with_begin_as_you_go(self, fails):
        engine = create_engine(f"sqlite:///{self.file}")
        with closing(_Engine(engine)), engine.connect() as connection:
            blocking(connection)
            connection.execute(text(INSERT))
            if fails:
                raise Rollback
            connection.commit()

    async def sqlalchemy_that_begins_by_an_event(self, fails):
        engine = create_engine(f"sqlite:///{self.file}")
        event.listen(engine, "connect", lambda driver, _: setattr(driver, "isolation_level", None))
        event.listen(engine, "begin", lambda each: each.exec_driver_sql("BEGIN"))
        with closing(_Engine(engine)), Session(engine) as session, session.begin():
            blocking(session.connection())
            session.execute(text(INSERT))
            if fails:
                raise Rollback

    async def sqlalchemy_aiosqlite(self, fails):
        engine = create_async_engine(f"sqlite+aiosqlite:///{self.file}")
        try:
            async with AsyncSession(engine) as session, session.begin():
                await waiting(await session.connection())
                await session.execute(text(INSERT))
                if fails:
                    raise Rollback
        finally:
            await engine.dispose()


class _Engine:
    def __init__(self, engine):
        self.close = engine.dispose


WAYS = sorted(name for name in vars(Ways) if not name.startswith("_"))


class TestBoundClients(BoundClients):
    @pytest.fixture
    def application(self, connection):
        return Application(bind=partial(bind, connection), commit=connection.commit)


@pytest.mark.parametrize("fails", [False, True], ids=["committed", "rolled back"])
@pytest.mark.parametrize("way", WAYS)
async def test_a_row_and_its_orchestration_commit_together_or_not_at_all(
    way, fails, provider, file
):
    run = getattr(Ways(file), way)
    if fails:
        with pytest.raises(Rollback):
            await run(fails)
    else:
        await run(fails)

    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT id FROM orders").fetchall()
    assert rows == ([] if fails else [("order-1",)])
    assert (await provider.read_instance("order-1") is None) is fails


DJANGO = """
import sys
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}}
)
from django.db import connection, transaction
from perdure import BlockingClient
from perdure.errors import InvalidInput
from perdure_sqlite import bind

def start(instance):
    client = BlockingClient(bind(connection))
    client.start_orchestration(instance, "process")
    assert client.get_orchestration_status(instance).__class__.__name__ == "Running"

def fails(instance):
    try:
        with transaction.atomic():
            start(instance)
            raise RuntimeError
    except RuntimeError:
        pass

with transaction.atomic():
    start("committed")
    fails("inner")
fails("rolled-back")
try:
    start("outside")
except InvalidInput as error:
    print(error)
"""


@pytest.mark.slow
async def test_djangos_connection_is_bound_in_its_atomic_blocks(provider, file):
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", DJANGO, str(file)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "begin a transaction with `with transaction.atomic()`" in done.stdout
    names = ("committed", "inner", "rolled-back", "outside")
    found = [name for name in names if await provider.read_instance(name)]
    assert found == ["committed"]


def test_a_savepoint_that_is_rolled_back_takes_its_start_along(connection):
    # The namespace is new, and its creation is rolled back as well.
    client = BlockingClient(bind(connection, namespace="new"))
    connection.execute(INSERT)
    connection.execute("SAVEPOINT inner")
    client.start_orchestration("order-1", "process")
    connection.execute("ROLLBACK TO inner")

    assert client.get_orchestration_status("order-1") == NotFound()
    client.start_orchestration("order-1", "process")
    assert client.get_orchestration_status("order-1") == Running()


async def test_a_worker_that_waits_finds_what_was_committed(provider, connection):
    BlockingClient(bind(connection)).start_orchestration("order-1", "process")
    connection.commit()

    serves = Serves(orchestrations={"process": frozenset()})
    await provider.wait_for_work(WorkWait(timeout=timedelta(seconds=30), serves=serves))


async def test_an_operation_that_fails_in_the_middle_leaves_nothing(connection, provider):
    client = BlockingClient(bind(connection))
    connection.execute(INSERT)
    connection.execute(
        "CREATE TEMP TRIGGER refuses BEFORE INSERT ON perdure_messages"
        " BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )

    with pytest.raises(StorageFailed, match="refused create_instance"):
        client.start_orchestration("order-1", "process")
    connection.commit()

    assert await provider.read_instance("order-1") is None
    assert connection.execute("SELECT id FROM orders").fetchall() == [("order-1",)]


async def test_a_blocking_client_of_an_async_connection_is_refused(provider, file):
    async with aiosqlite.connect(file) as connection:
        client = BlockingClient(bind(connection))
        with pytest.raises(ClientUnusable, match="use Client, or bind a connection that blocks"):
            client.start_orchestration("order-1", "process")


def test_a_file_without_tables_of_perdure_is_named():
    with closing(sqlite3.connect(":memory:")) as connection:
        client = BlockingClient(bind(connection))
        with pytest.raises(StorageFailed, match="has no tables of Perdure; open it once"):
            client.start_orchestration("order-1", "process")


def test_a_lock_that_another_process_has_asks_for_the_transaction_again(connection, file):
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StorageUnavailable, match="with BEGIN IMMEDIATE at its start") as raised:
            BlockingClient(bind(connection)).start_orchestration("order-1", "process")
        assert not raised.value.retryable


def test_a_connection_that_commits_by_itself_is_refused(file):
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        with pytest.raises(InvalidInput, match="would commit each statement by itself"):
            bind(connection)
        connection.execute("BEGIN")
        bound = bind(connection)
        connection.execute("COMMIT")
        with pytest.raises(InvalidInput, match="begin a transaction with `connection.execute"):
            BlockingClient(bound).start_orchestration("order-1", "process")


async def test_a_connection_that_is_closed_is_refused(file):
    connection = sqlite3.connect(file)
    connection.close()
    with pytest.raises(InvalidInput, match="is closed; bind an open connection"):
        bind(connection)
    async with aiosqlite.connect(file) as connection:
        pass
    with pytest.raises(InvalidInput, match="is closed; bind an open connection"):
        bind(connection)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("sqlite:///shop.db", "'sqlite:///shop.db' cannot be bound"),
        (7, "an object of builtins.int cannot be bound; pass a connection of sqlite3"),
        (Session(), r"pass its connection, `session.connection\(\)`"),
    ],
)
def test_what_cannot_be_bound_is_named(value, said):
    with pytest.raises(InvalidInput, match=said):
        bind(value)
