"""Opening a file: what is made, what is migrated, and what each failure says."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import perdure
import pytest
from perdure.errors import ProviderError, StorageCorrupt, StorageFailed, StorageUnavailable
from perdure_sqlite import SQLiteOptions, SQLiteProvider
from perdure_sqlite._schema.migrations import migrate
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool


async def opening(path: Path, **options: object) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        async with SQLiteProvider(SQLiteOptions.model_validate({"path": path, **options})):
            pass
    assert caught.value.operation == "open"
    assert str(path) in str(caught.value)
    return caught.value


async def test_a_missing_file_is_created(tmp_path, make):
    async with SQLiteProvider(SQLiteOptions(path=tmp_path / "new.db")) as provider:
        await provider.create_instance(make.new("a"))

    assert (tmp_path / "new.db").stat().st_size > 0


async def test_a_missing_file_is_not_created_where_that_is_not_wanted(tmp_path, make):
    url = f"sqlite:///{tmp_path}/typo.db"
    for opener in (
        perdure.open_provider(url, create=False),
        perdure.open_provider(f"{url}?create=false"),
    ):
        with pytest.raises(StorageFailed, match=r"typo\.db' does not exist; correct the path"):
            await opener.__aenter__()
    assert list(tmp_path.iterdir()) == []

    async with perdure.open_provider(url) as provider:
        await provider.create_instance(make.new("a"))
    async with perdure.open_provider(url, create=False) as provider:
        assert await provider.read_instance("a") is not None


async def test_the_log_is_moved_into_the_file_at_the_end(tmp_path, make):
    async with SQLiteProvider(SQLiteOptions(path=tmp_path / "new.db")) as provider:
        await provider.create_instance(make.new("a"))

    assert [path.name for path in tmp_path.iterdir()] == ["new.db"]


async def test_a_missing_directory_is_named(tmp_path):
    failure = await opening(tmp_path / "missing" / "x.db")

    assert isinstance(failure, StorageFailed)
    assert "directory" in str(failure)


async def test_a_directory_is_not_a_file(tmp_path):
    assert isinstance(await opening(tmp_path), StorageFailed)


async def test_a_file_of_another_kind_is_left_alone(tmp_path):
    path = tmp_path / "x.db"
    path.write_text("Dear diary, " * 1000)

    failure = await opening(path)

    assert isinstance(failure, StorageCorrupt)
    assert isinstance(failure.__cause__, sqlite3.DatabaseError)
    assert path.read_text().startswith("Dear diary")


async def test_a_newer_file_is_refused_and_left_alone(desk, tmp_path):
    async with SQLiteProvider(SQLiteOptions(path=desk.path)):
        pass
    raw = desk.raw()
    raw.execute("UPDATE perdure_meta SET value = '7'")

    failure = await opening(desk.path)

    assert isinstance(failure, StorageFailed)
    assert "schema 7" in str(failure)
    assert "upgrade" in str(failure)
    assert raw.execute("SELECT value FROM perdure_meta").fetchall() == [("7",)]


async def test_a_version_that_is_no_number_is_corrupt(desk):
    async with SQLiteProvider(SQLiteOptions(path=desk.path)):
        pass
    desk.raw().execute("UPDATE perdure_meta SET value = 'new'")

    assert isinstance(await opening(desk.path), StorageCorrupt)


async def test_a_version_that_nothing_leads_from_is_refused(desk):
    async with SQLiteProvider(SQLiteOptions(path=desk.path)):
        pass
    desk.raw().execute("UPDATE perdure_meta SET value = '0'")

    failure = await opening(desk.path)

    assert isinstance(failure, StorageFailed)
    assert "cannot upgrade" in str(failure)


async def test_a_locked_file_is_worth_another_try(desk):
    async with SQLiteProvider(SQLiteOptions(path=desk.path)):
        pass
    desk.raw().execute("BEGIN EXCLUSIVE")

    failure = await opening(desk.path, busy_timeout=0)

    assert isinstance(failure, StorageUnavailable)
    assert failure.retryable
    assert isinstance(failure.__cause__, sqlite3.OperationalError)


@pytest.mark.slow
async def test_opening_waits_for_a_lock_that_goes_away(desk):
    async with SQLiteProvider(SQLiteOptions(path=desk.path)):
        pass
    raw = desk.raw()
    raw.execute("BEGIN EXCLUSIVE")
    asyncio.get_running_loop().call_later(0.1, raw.execute, "ROLLBACK")

    async with SQLiteProvider(SQLiteOptions(path=desk.path, busy_timeout=20)) as provider:
        assert await provider.read_instance("a") is None


@pytest.fixture
def public_directory():
    """A directory that other users reach too, which those of the test runner may not be."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        yield directory
        directory.chmod(0o755)


def opened_without_rights(path: Path) -> str:
    """What a process prints that opens the file and may write nothing."""
    program = f"""
import asyncio, os
from perdure_sqlite import SQLiteOptions, SQLiteProvider
async def main():
    try:
        async with SQLiteProvider(SQLiteOptions(path={str(path)!r}, busy_timeout=0)):
            print("opened")
    except Exception as error:
        print(type(error).__name__, error)
if os.geteuid() == 0:
    os.seteuid(65534)
asyncio.run(main())
"""
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    return shown.stdout + shown.stderr


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="file permissions of POSIX")
async def test_a_read_only_file_is_named(public_directory):
    path = public_directory / "x.db"
    async with SQLiteProvider(SQLiteOptions(path=path)):
        pass
    path.chmod(0o444)
    public_directory.chmod(0o555)

    shown = opened_without_rights(path)

    assert shown.startswith("StorageFailed")
    assert "read-only" in shown
    assert str(path) in shown


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="file permissions of POSIX")
async def test_a_directory_that_may_not_be_entered_is_named(public_directory):
    path = public_directory / "x.db"
    public_directory.chmod(0o000)

    shown = opened_without_rights(path)

    assert shown.startswith("StorageFailed")
    assert str(path) in shown


def older_file(path: Path) -> None:
    """A file as a release before the first one might have left it: one table, no namespaces."""
    raw = sqlite3.connect(path)
    raw.executescript(
        """
        CREATE TABLE perdure_meta (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
        INSERT INTO perdure_meta VALUES ('schema_version', '0');
        CREATE TABLE perdure_runs (id TEXT);
        INSERT INTO perdure_runs VALUES ('kept');
        """
    )
    raw.close()


def migrated(path: Path, steps, version: int = 2) -> None:
    engine = create_engine(
        f"sqlite:///{path}", poolclass=NullPool, connect_args={"isolation_level": None}
    )
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        driver.execute("BEGIN IMMEDIATE")
        try:
            migrate(connection, file=str(path), version=version, upgrades=steps)
            driver.execute("COMMIT")
        except BaseException:
            driver.execute("ROLLBACK")
            raise


def rows(path: Path, statement: str) -> list[object]:
    raw = sqlite3.connect(path)
    try:
        return raw.execute(statement).fetchall()
    finally:
        raw.close()


def test_an_older_file_is_brought_forward_step_by_step(tmp_path):
    older_file(tmp_path / "x.db")
    steps = {
        0: lambda connection: connection.execute(text("ALTER TABLE perdure_runs ADD name TEXT")),
        1: lambda connection: connection.execute(text("UPDATE perdure_runs SET name = id || '!'")),
    }

    migrated(tmp_path / "x.db", steps)

    assert rows(tmp_path / "x.db", "SELECT * FROM perdure_runs") == [("kept", "kept!")]
    assert rows(tmp_path / "x.db", "SELECT value FROM perdure_meta") == [("2",)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path):
    older_file(tmp_path / "x.db")

    def fail(connection):
        connection.execute(text("ALTER TABLE perdure_runs ADD name TEXT"))
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        migrated(tmp_path / "x.db", {0: fail}, version=1)

    assert rows(tmp_path / "x.db", "SELECT * FROM perdure_runs") == [("kept",)]
    assert rows(tmp_path / "x.db", "SELECT value FROM perdure_meta") == [("0",)]


async def test_a_copy_of_the_closed_file_is_complete(tmp_path, make):
    async with SQLiteProvider(SQLiteOptions(path=tmp_path / "x.db")) as provider:
        await provider.create_instance(make.new("a"))
    shutil.copy(tmp_path / "x.db", tmp_path / "y.db")

    async with SQLiteProvider(SQLiteOptions(path=tmp_path / "y.db")) as provider:
        assert await provider.read_instance("a") is not None


async def test_tables_of_the_application_are_left_alone(desk, make):
    desk.raw().executescript("CREATE TABLE orders (id); INSERT INTO orders VALUES (1)")

    provider = await desk.open()
    await provider.create_instance(make.new("a"))

    assert desk.raw().execute("SELECT * FROM orders").fetchall() == [(1,)]


async def test_a_provider_is_opened_only_once(desk):
    provider = await desk.open()

    with pytest.raises(StorageFailed, match="open already"):
        await provider.__aenter__()


@pytest.mark.slow
def test_processes_that_create_the_same_file_at_once_all_succeed(tmp_path, in_a_process):
    program = """
import asyncio
from perdure.contract import Message, MessageKind, NewInstance
from perdure_sqlite import SQLiteOptions, SQLiteProvider
import os
async def main():
    instance = str(os.getpid())
    start = Message(id="s", instance=instance, kind=MessageKind.START, data=b"", incarnation="i")
    async with SQLiteProvider(SQLiteOptions(path="x.db")) as provider:
        await provider.create_instance(
            NewInstance(instance=instance, incarnation="i", name="n", start=start))
    print("done")
asyncio.run(main())
"""
    processes = [in_a_process(program) for _ in range(4)]
    shown = [process.communicate(timeout=60)[0] for process in processes]

    assert [text.split() for text in shown] == [["done"]] * 4
    assert rows(tmp_path / "x.db", "SELECT count(*) FROM perdure_instances") == [(4,)]
    assert rows(tmp_path / "x.db", "SELECT count(*) FROM perdure_namespaces") == [(1,)]


def test_a_truth_value_is_no_timeout():
    with pytest.raises(ValueError, match="truth value; pass seconds"):
        SQLiteOptions(path=Path("orders.db"), busy_timeout=True)
