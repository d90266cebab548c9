"""Opening a database: its schema, its grants, and what is said when they are missing."""

import asyncio

import psycopg
import pytest
from perdure.clock import SystemClock
from perdure.contract import Message, MessageKind, NewInstance
from perdure.errors import StorageFailed, StorageUnavailable
from perdure.providers.loader import open_provider
from perdure_postgres.__main__ import main
from perdure_postgres._schema.migrations import grants


def without_create(url):
    return url.replace("&create=true", "")


def new_instance(name):
    start = Message(
        id="start", instance=name, incarnation="one", kind=MessageKind.START, data=b"{}"
    )
    return NewInstance(instance=name, incarnation="one", name="order", start=start)


async def test_a_missing_schema_is_refused_with_the_command_that_makes_it(postgres_url, schema):
    with pytest.raises(StorageFailed, match="python -m perdure_postgres migrate URL"):
        async with open_provider(f"{without_create(postgres_url)}&schema={schema}"):
            pass


@pytest.mark.slow
def test_the_command_makes_a_schema_once(postgres_url, schema, capsys):
    url = f"{without_create(postgres_url)}&schema={schema}"

    assert main(["migrate", url]) == 0
    assert "went from 0 to 2" in capsys.readouterr().out
    assert main(["migrate", url]) == 0
    assert "has version 2" in capsys.readouterr().out


@pytest.mark.slow
def test_functions_that_a_version_has_no_more_outlive_one_migration(
    postgres_url, schema, execute, capsys
):
    url = f"{without_create(postgres_url)}&schema={schema}"
    assert main(["migrate", url]) == 0
    outdate = f"UPDATE {schema}.meta SET value = 'other' WHERE key = 'functions'"  # noqa: S608 # a name of this test
    execute(
        postgres_url,
        f"CREATE FUNCTION {schema}.old(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        f"CREATE FUNCTION {schema}.stranger() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        f"UPDATE {schema}.meta SET value = (value::jsonb || '[\"old(integer)\"]')::text"  # noqa: S608 # a name of this test
        " WHERE key = 'written functions'",
        outdate,
    )

    def names():
        return {
            name
            for (name,) in execute(
                postgres_url,
                f"SELECT proname FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace",  # noqa: S608 # a name of this test
            )
        }

    # Processes of the version before may still call it.
    assert main(["migrate", url]) == 0
    assert {"old", "stranger", "write"} <= names()
    execute(postgres_url, outdate)
    assert main(["migrate", url]) == 0
    assert "old" not in names()
    assert {"stranger", "write"} <= names()


VERSION_1 = """
ALTER TABLE {schema}.events DROP COLUMN count;
ALTER TABLE {schema}.executions DROP COLUMN history;
DROP INDEX {schema}.instances_by_status;
CREATE INDEX instances_by_status ON {schema}.instances (status, namespace, created_at DESC, number DESC);
UPDATE {schema}.meta SET value = '1' WHERE key = 'version';
UPDATE {schema}.meta SET value = 'other' WHERE key = 'functions'
"""
COLUMNS = """
SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
WHERE table_schema = '{schema}' ORDER BY 1, 2
"""
INDEXES = "SELECT indexdef FROM pg_indexes WHERE schemaname = '{schema}' ORDER BY 1"


@pytest.mark.slow
def test_a_schema_of_the_version_before_gets_what_a_new_one_has(
    postgres_url, schema, execute, capsys
):
    url = f"{without_create(postgres_url)}&schema={schema}"
    assert main(["migrate", url]) == 0
    looks = [each.format(schema=schema) for each in (COLUMNS, INDEXES)]
    new = [execute(postgres_url, each) for each in looks]
    execute(postgres_url, *VERSION_1.format(schema=schema).split(";"))
    assert [execute(postgres_url, each) for each in looks] != new

    assert main(["migrate", url]) == 0
    assert "went from 1 to 2" in capsys.readouterr().out
    assert [execute(postgres_url, each) for each in looks] == new


@pytest.mark.slow
def test_many_processes_may_make_the_schema_at_once(postgres_url, schema):
    url = f"{postgres_url}&schema={schema}"

    async def opened():
        async with open_provider(url) as provider:
            return await provider.read_instance("nothing")

    async def all_at_once():
        return await asyncio.gather(*(opened() for _ in range(4)))

    assert asyncio.run(all_at_once()) == [None] * 4


@pytest.mark.slow
async def test_a_role_with_the_printed_grants_can_do_everything(
    postgres_url, schema, role, execute
):
    async with open_provider(f"{postgres_url}&schema={schema}"):
        pass
    execute(postgres_url, *grants(schema, role))
    url = without_create(postgres_url).replace("postgres@", f"{role}@")
    async with open_provider(f"{url}&schema={schema}") as provider:
        await provider.create_instance(new_instance("order-1"))
        admin = provider.as_management_capability()

        assert (await admin.list_instances(limit=10)).ids == ("order-1",)
        assert (await admin.count_queues()).orchestrator_queue == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(url, f"DELETE FROM {schema}.instances")  # noqa: S608 # a name of this test


@pytest.mark.slow
async def test_a_role_without_grants_is_told_what_it_lacks(postgres_url, schema, role):
    async with open_provider(f"{postgres_url}&schema={schema}"):
        pass
    url = without_create(postgres_url).replace("postgres@", f"{role}@")
    with pytest.raises(StorageFailed, match="lacks a grant"):
        async with open_provider(f"{url}&schema={schema}"):
            pass


@pytest.mark.slow
async def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(StorageUnavailable):
        async with open_provider(f"postgresql:///shop?host={tmp_path}", clock=SystemClock()):
            pass


def test_the_command_explains_itself(capsys):
    assert main(["help"]) == 2
    assert "migrate URL" in capsys.readouterr().err


def test_the_grants_are_printed_as_statements(capsys):
    assert main(["grants", "worker"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'GRANT USAGE ON SCHEMA "perdure" TO "worker";'
    assert all(line.endswith(";") for line in lines)
