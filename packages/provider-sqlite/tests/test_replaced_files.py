"""A file that is deleted, renamed or replaced under a provider: noticed, and nothing acknowledged."""

import asyncio
import logging
import os
import sqlite3
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure.contract import ChangeWait, SystemClock
from perdure.errors import StorageFailed
from perdure_sqlite import SQLiteOptions, SQLiteProvider

HOUR = timedelta(hours=1)


def copy_of(path: Path) -> Path:
    copy = path.with_name("copy.db")
    connection = sqlite3.connect(path)
    connection.execute("VACUUM INTO ?", (str(copy),))
    connection.close()
    return copy


def delete(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def replace(path: Path) -> None:
    copy_of(path).replace(path)


def replace_with_log(path: Path) -> None:
    copy = copy_of(path)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink()
    copy.replace(path)


def rename_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def delete_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


DISPLACEMENTS = (delete, rename, replace, replace_with_log, rename_directory, delete_log)
replaced = pytest.mark.parametrize("displace", DISPLACEMENTS, ids=lambda each: each.__name__)


@pytest.fixture(autouse=True)
def _no_wall_time(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Only the calls notice, but where the test is about noticing without one."""
    if "who_waits_is_told" not in request.node.name:
        monkeypatch.setattr("perdure_sqlite._open_file._CHECK_INTERVAL", 3600)
        monkeypatch.setattr("perdure_sqlite._file.identity._LOG_INTERVAL", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    return directory / "x.db"


@pytest.fixture
async def provider(path: Path, make, desk):
    desk.path = path
    opened = await desk.open()
    await opened.create_instance(make.new("before"))
    return opened


@replaced
async def test_a_write_after_it_is_refused(provider, path, make, displace):
    displace(path)

    with pytest.raises(StorageFailed, match="is not the one that was opened") as caught:
        await provider.create_instance(make.new("after"))

    assert str(path) in str(caught.value)
    assert caught.value.operation == "create_instance"
    assert not caught.value.retryable


@replaced
async def test_everything_after_it_is_refused(provider, path, make, displace):
    displace(path)
    with pytest.raises(StorageFailed):
        await provider.create_instance(make.new("after"))

    for call in (
        lambda: provider.read_instance("before"),
        lambda: provider.lease_turns(make.request()),
        lambda: provider.send([make.event("before")]),
        lambda: provider.wait_for_change(ChangeWait(instance="before", timeout=HOUR)),
    ):
        with pytest.raises(StorageFailed, match="is not the one that was opened"):
            await call()


async def test_what_is_replaced_between_the_statements_and_the_commit_is_not_acknowledged(
    provider, path, make
):
    copy = copy_of(path)

    def at_the_commit(statement: str) -> None:
        if statement == "COMMIT" and copy.exists():
            copy.replace(path)

    provider.opened.database.writer.set_trace_callback(at_the_commit)
    outcomes = await asyncio.gather(
        *(provider.create_instance(make.new(f"i-{n}")) for n in range(20)), return_exceptions=True
    )

    assert not copy.exists()
    assert [type(outcome) for outcome in outcomes] == [StorageFailed] * 20


async def test_a_repeated_call_that_has_nothing_to_write_is_not_acknowledged_either(
    provider, path, make
):
    replace(path)

    with pytest.raises(StorageFailed):
        await provider.create_instance(make.new("before"))


@pytest.mark.slow
@replaced
async def test_who_waits_is_told_long_before_the_time_is_over(path, make, displace):
    async with SQLiteProvider(SQLiteOptions(path=path), clock=SystemClock()) as provider:
        await provider.create_instance(make.new("before"))
        waiting = asyncio.ensure_future(
            provider.wait_for_change(ChangeWait(instance="before", timeout=HOUR))
        )
        await asyncio.sleep(0)
        displace(path)

        with pytest.raises(StorageFailed, match="is not the one that was opened"):
            await asyncio.wait_for(waiting, 60)


async def test_it_is_logged_once(provider, path, make, caplog):
    caplog.set_level(logging.WARNING, logger="perdure.sqlite")
    replace(path)

    for _ in range(3):
        with pytest.raises(StorageFailed):
            await provider.create_instance(make.new("after"))

    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert str(path) in caplog.text


async def test_a_file_that_was_put_there_is_untouched_by_the_log_of_the_old_one(path, make):
    async with SQLiteProvider(SQLiteOptions(path=path)) as provider:
        await provider.create_instance(make.new("before"))
        replace(path)
        for number in range(50):
            with pytest.raises(StorageFailed):
                await provider.create_instance(make.new(f"after-{number}"))

    async with SQLiteProvider(SQLiteOptions(path=path)) as provider:
        found = [await provider.read_instance(name) for name in ("before", "after-0")]
        raw = sqlite3.connect(path)
        check = raw.execute("PRAGMA integrity_check").fetchall()
        raw.close()

    assert [state is not None for state in found] == [True, False]
    assert check == [("ok",)]


async def test_the_log_of_a_file_that_was_put_there_is_left_alone(path, make):
    provider = SQLiteProvider(SQLiteOptions(path=path))
    await provider.__aenter__()
    await provider.create_instance(make.new("before"))
    replace_with_log(path)
    async with SQLiteProvider(SQLiteOptions(path=path)) as new:
        await new.create_instance(make.new("new"))
        log = os.stat(f"{path}-wal")

        with pytest.raises(StorageFailed):
            await provider.create_instance(make.new("after"))
        await provider.__aexit__(None, None, None)

        assert os.stat(f"{path}-wal").st_ino == log.st_ino
        assert os.stat(f"{path}-wal").st_size == log.st_size
        assert await new.read_instance("new") is not None


async def test_a_renamed_file_keeps_all_that_was_acknowledged(path, make):
    async with SQLiteProvider(SQLiteOptions(path=path)) as provider:
        for number in range(5):
            await provider.create_instance(make.new(f"i-{number}"))
        path.rename(path.with_name("elsewhere.db"))

    async with SQLiteProvider(SQLiteOptions(path=path.with_name("elsewhere.db"))) as provider:
        found = [await provider.read_instance(f"i-{number}") for number in range(5)]

    assert all(state is not None for state in found)


async def test_a_link_that_is_turned_to_another_file_is_noticed(path, make, tmp_path):
    link = tmp_path / "link.db"
    async with SQLiteProvider(SQLiteOptions(path=tmp_path / "other.db")):
        pass
    async with SQLiteProvider(SQLiteOptions(path=path)):
        pass
    link.symlink_to(path)
    async with SQLiteProvider(SQLiteOptions(path=link)) as provider:
        await provider.create_instance(make.new("before"))
        link.unlink()
        link.symlink_to(tmp_path / "other.db")

        with pytest.raises(StorageFailed, match="is not the one that was opened"):
            await provider.create_instance(make.new("after"))


async def test_other_processes_and_scans_change_nothing_about_the_place(provider, path, make, desk):
    raw = desk.raw()
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    second = await desk.open()
    await second.create_instance(make.new("of the second"))
    await provider.as_management_capability().count_queues()
    raw.execute("VACUUM")

    await provider.create_instance(make.new("after"))

    assert await second.read_instance("after") is not None


async def test_a_runtime_is_told_and_goes_on_acknowledging_nothing(path):
    app = perdure.Registry()

    @app.orchestration
    async def five(ctx: perdure.OrchestrationContext) -> int:
        return 5

    clock = perdure.ManualClock()
    async with (
        perdure.open_provider(f"sqlite:////{path}", clock=clock) as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        await (await client.start_orchestration("before", five)).result(timeout=10)
        replace(path)

        with pytest.raises(StorageFailed):
            await client.start_orchestration("after", five)

    async with perdure.open_provider(f"sqlite:////{path}") as provider:
        client = perdure.Client(provider)
        assert await client.get_orchestration_status("before") == perdure.Completed(output="5")
        assert await client.get_orchestration_status("after") == perdure.NotFound()
