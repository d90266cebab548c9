"""Files of earlier versions: migrated at the open, and gone on with. Release 0.1.0 wrote version 1."""

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure.contract import InstanceStatus
from perdure.errors import StorageCorrupt
from perdure_sqlite import SQLiteOptions, SQLiteProvider
from perdure_sqlite._schema.tables import INDEXES, TABLES

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = (1, 2, 3)

app = perdure.Registry()


@app.activity
async def double(x: int) -> int:
    return 2 * x


@app.orchestration
async def waits(ctx: perdure.OrchestrationContext, x: int) -> int:
    y = await ctx.schedule_activity(double, x)
    await ctx.schedule_wait("go")
    return await ctx.schedule_activity(double, y)


@app.orchestration
async def sleeps(ctx: perdure.OrchestrationContext, x: int) -> int:
    await asyncio.sleep(3600)
    return x


@app.orchestration
async def asks(ctx: perdure.OrchestrationContext, x: int) -> int:
    return await ctx.schedule_activity(double, x, tag="gpu")


@app.orchestration
async def again(ctx: perdure.OrchestrationContext, x: int) -> int:
    if x < 3:
        ctx.continue_as_new(x + 1)
    await ctx.schedule_wait("go")
    return x


@pytest.fixture(params=VERSIONS)
def old_file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return file_of(request.param, tmp_path)


def file_of(version: int, directory: Path) -> Path:
    path = directory / "old.db"
    script = (FIXTURES / f"version_{version}.sql").read_text(encoding="utf-8")
    connection = sqlite3.connect(path)
    connection.executescript("PRAGMA journal_mode=WAL;" + script)
    connection.close()
    return path


def schema(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The columns of all tables, and the columns of all indexes."""
    connection = sqlite3.connect(path)
    try:
        names = connection.execute("SELECT type, name FROM sqlite_master ORDER BY name").fetchall()
        return {
            name: connection.execute(f"PRAGMA {kind}_xinfo({name})").fetchall()
            for kind, name in names
        }
    finally:
        connection.close()


async def test_all_that_runs_in_an_old_file_goes_on_to_its_end(old_file):
    clock = perdure.ManualClock()
    tags = perdure.RuntimeOptions(tags=frozenset({None, "gpu"}))
    async with perdure.open_provider(f"sqlite:////{old_file}", clock=clock) as provider:
        client = perdure.Client(provider)
        await client.start_orchestration("early", "waits", "5")
        async with perdure.Runtime(provider, app, options=tags):
            for name in ("waits", "again", "untouched", "pinned"):
                await client.raise_event(name, "go")
            names = ["waits", "again", "asks", "untouched", "pinned", "early"]
            ended = [await client.wait_for_orchestration(name, 10) for name in names]
            clock.advance(timedelta(hours=2))
            slept = await client.wait_for_orchestration("sleeps", 10)

    outputs = [status.output for status in (*ended, slept)]
    assert outputs == ["4", "3", "2", "12", "16", "20", "1"]


async def test_what_has_ended_in_an_old_file_is_read_as_before(old_file):
    async with perdure.open_provider(f"sqlite:////{old_file}") as provider:
        client = perdure.Client(provider)

        done = await client.get_orchestration_status("done")
        failed = await client.get_orchestration_status("failed")
        events = await client.read_execution_history("again", 2)
        executions = await client.list_executions("again")

    assert done == perdure.Completed(output="8")
    assert isinstance(failed, perdure.Failed)
    assert len(events) == 2
    assert executions == [1, 2, 3]


async def test_a_migrated_file_is_as_a_new_one(old_file, tmp_path):
    for path in (old_file, tmp_path / "new.db"):
        async with SQLiteProvider(SQLiteOptions(path=path)):
            pass

    assert schema(old_file) == schema(tmp_path / "new.db")


async def test_a_view_of_the_application_survives_the_migration(old_file):
    connection = sqlite3.connect(old_file)
    connection.execute("CREATE VIEW running AS SELECT id FROM perdure_instances")
    connection.close()

    async with SQLiteProvider(SQLiteOptions(path=old_file)):
        pass

    connection = sqlite3.connect(old_file)
    found = connection.execute("SELECT count(*) FROM running").fetchone()
    connection.close()
    assert found == (8,)


@pytest.mark.parametrize(
    ("version", "find"),
    [
        (1, "SELECT queue FROM perdure_instances WHERE id = 'waits'"),
        (2, "SELECT shelf FROM perdure_instances WHERE id = 'waits'"),
        (2, "SELECT shelf FROM perdure_activities"),
        (3, "SELECT number, data FROM perdure_events"),
    ],
)
async def test_a_process_of_the_old_version_cannot_go_on_beside(tmp_path, version, find):
    # Every write of that version names the column, and of version 3 all that concerns a history.
    path = file_of(version, tmp_path)
    old = sqlite3.connect(path, isolation_level=None)
    old.execute(find).fetchall()
    async with SQLiteProvider(SQLiteOptions(path=path)):
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            old.execute(find)
    old.close()


async def test_what_an_old_file_holds_is_counted_once_when_it_is_opened(old_file):
    async with SQLiteProvider(SQLiteOptions(path=old_file)) as provider:
        metrics = await provider.as_management_capability().count_instances()

    connection = sqlite3.connect(old_file)
    by_status = dict(
        connection.execute("SELECT status, count(*) FROM perdure_instances GROUP BY 1").fetchall()
    )
    (events,) = connection.execute("SELECT count(*) FROM perdure_events").fetchone()
    connection.close()
    assert metrics.total_events == events
    assert by_status == {
        status: count
        for status, count in (
            ("Running", metrics.running_instances),
            ("Completed", metrics.completed_instances),
            ("Failed", metrics.failed_instances),
        )
        if count
    }


async def test_what_an_old_file_holds_is_listed_as_it_was_created(old_file):
    async with SQLiteProvider(SQLiteOptions(path=old_file)) as provider:
        admin = provider.as_management_capability()
        everything = await admin.list_instances(limit=10)
        continued = await admin.list_instances(status=InstanceStatus.CONTINUED_AS_NEW, limit=10)

    connection = sqlite3.connect(old_file)
    created = connection.execute("SELECT id FROM perdure_instances ORDER BY number DESC").fetchall()
    connection.close()
    assert everything.ids == tuple(instance for (instance,) in created)
    assert continued.ids == ("again",)


@pytest.mark.parametrize("table", [table.name for table in TABLES])
async def test_a_file_that_lacks_a_table_is_refused_by_its_name(tmp_path, table):
    path = tmp_path / "x.db"
    async with SQLiteProvider(SQLiteOptions(path=path)):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"DROP TABLE {table}")
    connection.close()

    with pytest.raises(StorageCorrupt, match=f"lacks the table '{table}'"):
        async with SQLiteProvider(SQLiteOptions(path=path)):
            pass


async def test_indexes_that_are_missing_are_made_again(tmp_path, make):
    path = tmp_path / "x.db"
    async with SQLiteProvider(SQLiteOptions(path=path)) as provider:
        await provider.create_instance(make.new("a"))
    before = schema(path)
    connection = sqlite3.connect(path)
    for index in INDEXES:
        connection.execute(f"DROP INDEX {index.name}")
    connection.close()

    async with SQLiteProvider(SQLiteOptions(path=path)) as provider:
        turns = await provider.lease_turns(make.request())

    assert [turn.state.instance for turn in turns] == ["a"]
    assert schema(path) == before


async def test_every_file_gets_its_indexes_in_the_same_order(tmp_path):
    orders = []
    for name in ("a.db", "b.db"):
        async with SQLiteProvider(SQLiteOptions(path=tmp_path / name)):
            pass
        connection = sqlite3.connect(tmp_path / name)
        found = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY rowid"
        )
        orders.append([each for (each,) in found])
        connection.close()

    assert orders == [[index.name for index in INDEXES]] * 2
    places = [(TABLES.index(index.table), index.name) for index in INDEXES]
    assert places == sorted(places)
