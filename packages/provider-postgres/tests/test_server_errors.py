"""What the server refuses or breaks off, and is made again: a caller sees a result, and no error.

Each error is a real one. A call is observed where it begins a try, so that what stands in its way is
taken away before the next try and not by chance.
"""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import psycopg
import pytest
from perdure.contract import ChangeWait, Message, MessageKind, NewInstance, ProviderUrl
from perdure.errors import StorageUnavailable
from perdure.providers.loader import open_provider
from perdure_postgres import PostgresOptions, _database
from perdure_postgres._database import Pool
from perdure_postgres._writes.document import Document

KILL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = %s AND pid <> pg_backend_pid()
"""
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'
"""
LOCK = """
SELECT t.number FROM perdure.turns AS t JOIN perdure.instances AS i ON i.number = t.number
WHERE i.id = %s AND i.namespace = (SELECT number FROM perdure.namespaces WHERE name = %s)
FOR UPDATE OF t
"""


def start_of(name):
    return Message(id="start", instance=name, incarnation=name, kind=MessageKind.START, data=b"{}")


def new_instance(name):
    return NewInstance(instance=name, incarnation=name, name="order", start=start_of(name))


def event(name, number=1):
    return Message(
        id=f"event-{number}", instance=name, incarnation=None, kind=MessageKind.EVENT, data=b"{}"
    )


@pytest.fixture
def name(url):
    """What connections of the provider are called, and its namespace."""
    return url.rpartition("=")[2]


@pytest.fixture
def mine(url, name):
    return f"{url}&application_name={name}&connections=1"


@pytest.fixture
def patient(monkeypatch):
    """A group of writes waits for a lock as long as a single call: for so long that it is seen."""
    mark = Document.mark

    def marked(document, name):
        if name != "hurried":
            mark(document, name)

    monkeypatch.setattr(Document, "mark", marked)


class Tries:
    """Counts the statements of a provider object, and does something before the one of a number."""

    def __init__(self, provider):
        self.count = 0
        self._before = {}
        provider.database.before_statement = self._note

    def before(self, number, act):
        self._before[number] = act

    def _note(self, statement):
        if "pg_notify" not in statement:
            self.count += 1
            self._before.get(self.count, int)()


async def until_it_waits(connection, name):
    while connection.execute(WAITING, (name,)).fetchone() == (0,):  # noqa: ASYNC110 # the server tells nothing
        await asyncio.sleep(0.005)


@pytest.mark.slow
async def test_no_call_fails_while_the_server_ends_the_connections_of_the_provider(
    url, name, connect
):
    mine = f"{url}&application_name={name}"
    async with open_provider(mine) as provider:
        with connect(url) as killer:
            for each in range(5):
                names = [f"order-{each}-{n}" for n in range(20)]
                calls = [
                    asyncio.ensure_future(provider.create_instance(new_instance(n))) for n in names
                ]
                await asyncio.sleep(0.002 * each)
                killer.execute(KILL, (name,))
                await asyncio.gather(*calls)

        for each in range(5):
            for n in range(20):
                assert await provider.read_instance(f"order-{each}-{n}") is not None


@pytest.mark.slow
async def test_two_provider_objects_hear_of_each_other_after_a_connection_broke(url, name, connect):
    async with open_provider(f"{url}&application_name={name}") as here, open_provider(url) as there:
        wait = ChangeWait(instance="order", timeout=timedelta(seconds=30), exists=False)
        waiting = asyncio.ensure_future(here.wait_for_change(wait))
        await asyncio.sleep(0.2)
        with connect(url) as killer:
            killer.execute(KILL, (name,))
        await there.create_instance(new_instance("order"))

        async with asyncio.timeout(10):
            await waiting


@pytest.mark.slow
async def test_a_deadlock_is_resolved_and_the_write_is_made_again(
    url, mine, name, connect, patient
):
    async with open_provider(mine) as provider:
        for each in ("one", "two"):
            await provider.create_instance(new_instance(each))
        tries = Tries(provider)
        with connect(url) as other:
            # The server ends the statement that looks for the deadlock: not this one.
            other.execute("SET deadlock_timeout = '1min'")
            with other.transaction():
                other.execute(LOCK, ("two", name))
                sending = asyncio.ensure_future(provider.send([event("one"), event("two")]))
                await until_it_waits(other, name)
                await asyncio.to_thread(other.execute, LOCK, ("one", name))
            await sending

        assert tries.count == 2


@pytest.mark.slow
async def test_a_write_that_cannot_be_serialized_is_made_again(
    url, mine, name, role, connect, execute, patient
):
    execute(mine, f"ALTER ROLE {role} SUPERUSER")
    execute(mine, f"ALTER ROLE {role} SET default_transaction_isolation = 'repeatable read'")
    async with open_provider(mine.replace("postgres@", f"{role}@")) as provider:
        await provider.create_instance(new_instance("order"))
        tries = Tries(provider)
        with connect(url) as other:
            with other.transaction():
                other.execute(LOCK, ("order", name))
                sending = asyncio.ensure_future(provider.send([event("order")]))
                await until_it_waits(other, name)
                other.execute("UPDATE perdure.turns SET released_at = released_at")
            await sending

        assert tries.count == 2


async def test_every_function_that_the_provider_calls_bounds_its_wait_for_locks(
    url, postgres_url, execute
):
    async with open_provider(url):
        pass  # makes the schema
    # The other functions are called by these alone. Where several instances depend on one call, it
    # leaves a held row soon.
    rows = execute(
        postgres_url,
        """SELECT proname, proconfig FROM pg_proc
        WHERE pronamespace = 'perdure'::regnamespace AND prosecdef""",
    )

    assert len(rows) > 20
    bounds = {"lock_timeout=5s", "lock_timeout=250ms"}
    assert [name for name, settings in rows if bounds.isdisjoint(settings)] == []


async def test_the_server_ends_a_statement_that_lasts_longer_than_its_caller_waits(postgres_url):
    pool = Pool(
        PostgresOptions.from_url(ProviderUrl.parse(postgres_url)).conninfo,
        size=1,
        statement_timeout=0.05,
    )

    with pytest.raises(psycopg.errors.QueryCanceled):
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_sleep(60)")


async def test_no_try_begins_after_the_time_of_the_call(url, monkeypatch):
    """A server that answers nothing costs each try its time, such as ten seconds for a connection."""
    seconds = [0.0]

    def wait(statement):
        seconds[0] += 10
        raise TimeoutError

    monkeypatch.setattr(_database, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    async with open_provider(f"{url}&call_timeout=30") as provider:
        provider.database.first_pause = 0
        provider.database.before_statement = wait
        with pytest.raises(StorageUnavailable):
            await provider.read_instance("order")

    assert seconds == [30]


@pytest.mark.slow
async def test_no_statement_goes_on_for_a_caller_that_is_gone(url, mine, name, connect):
    async with open_provider(mine) as creating:
        # Not under the short timeout below, which a busy machine needs for a call that succeeds.
        await creating.create_instance(new_instance("order"))
    async with open_provider(f"{mine}&call_timeout=0.1") as provider:
        provider.database.first_pause = 0
        with connect(url) as other, other.transaction():
            other.execute(LOCK, ("order", name))
            with pytest.raises(StorageUnavailable):
                await provider.send([event("order")])

            assert other.execute(WAITING, (name,)).fetchone() == (0,)


@pytest.mark.slow
async def test_a_server_that_only_reads_is_left_for_another(
    url, mine, name, role, connect, execute
):
    """As after a failover: what an open connection leads to has become a standby."""
    execute(mine, f"ALTER ROLE {role} SUPERUSER")
    async with open_provider(mine.replace("postgres@", f"{role}@")) as provider:
        execute(mine, f"ALTER ROLE {role} SET default_transaction_read_only = on")
        with connect(url) as other:
            other.execute(KILL, (name,))
        tries = Tries(provider)
        tries.before(
            3, lambda: execute(mine, f"ALTER ROLE {role} RESET default_transaction_read_only")
        )
        await provider.create_instance(new_instance("order"))

        # The first one found the connection ended, and the second one a server that only reads.
        assert tries.count == 3
        assert await provider.read_instance("order") is not None


async def test_after_a_restart_no_call_tries_one_old_connection_after_the_other(url, name, connect):
    mine = f"{url}&application_name={name}&connections=5"
    async with open_provider(mine) as provider:
        holding = (
            provider.database.fetch("hold", "SELECT pg_sleep(0.05)", (), repeatable=True)
            for _ in range(5)
        )
        await asyncio.gather(*holding)
        tries = Tries(provider)
        with connect(url) as other:
            other.execute(KILL, (name,))
        await provider.create_instance(new_instance("order"))

        assert tries.count == 2
