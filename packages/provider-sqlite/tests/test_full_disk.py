"""A disk that is full: the log is moved into the file and cut off, before a caller is told."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from perdure.errors import StorageFailed
from perdure_sqlite._file.disk_space import DiskSpace
from perdure_sqlite._testing.failing_statements import failing_statement


def log_size(path: Path) -> int:
    return Path(f"{path}-wal").stat().st_size


async def test_a_full_disk_comes_back_by_cutting_off_the_log(desk, make):
    provider = await desk.open()
    for number in range(20):
        await provider.create_instance(make.new(f"i-{number}"))
    before = log_size(desk.path)

    with failing_statement(provider.transaction, 3, code=sqlite3.SQLITE_FULL) as fails:
        await provider.create_instance(make.new("a"))

    assert fails.reached
    assert log_size(desk.path) < before / 2
    assert await provider.read_instance("a") is not None


async def test_the_whole_group_is_tried_again(desk, make):
    provider = await desk.open()

    with failing_statement(provider.transaction, 30, code=sqlite3.SQLITE_FULL) as fails:
        await asyncio.gather(*(provider.create_instance(make.new(f"i-{n}")) for n in range(20)))

    assert fails.reached
    found = [await provider.read_instance(f"i-{n}") for n in range(20)]
    assert all(state is not None for state in found)


async def test_a_disk_that_stays_full_is_told_and_nothing_is_left(desk, make, monkeypatch):
    provider = await desk.open()
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    execute = provider.transaction.execute

    def fails(statement, parameters=()):
        if statement == "COMMIT" or "wal_checkpoint" in statement:
            raise full
        return execute(statement, parameters)

    monkeypatch.setattr(provider.transaction, "execute", fails)
    with pytest.raises(StorageFailed, match="make room"):
        await provider.create_instance(make.new("a"))
    monkeypatch.undo()

    assert await provider.read_instance("a") is None
    await provider.create_instance(make.new("a"))
    assert await provider.read_instance("a") is not None


@pytest.mark.slow
async def test_the_log_stays_short_while_little_room_is_left(desk, make, monkeypatch):
    sizes: list[int] = []
    for room in (0, 10**18):
        monkeypatch.setattr("perdure_sqlite._file.disk_space._LOW_SPACE", room)
        desk.path = desk.path.with_name(f"{room}.db")
        provider = await desk.open()
        for number in range(60):
            await provider.send([make.event(f"i-{number}", data=bytes(20_000))])
        sizes.append(log_size(desk.path))

    assert sizes[1] < 600_000 < sizes[0]


def test_room_is_not_made_over_and_over():
    room = DiskSpace("x.db")

    attempts = [room.may_truncate_log() for _ in range(3)]

    assert attempts == [True, False, False]
