"""A new file appears complete or not at all, and an empty one is not taken for a new one."""

import errno
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from perdure.errors import StorageCorrupt, StorageFailed
from perdure_sqlite import SQLiteOptions, SQLiteProvider
from perdure_sqlite._file.creation import ensure_file
from perdure_sqlite._schema.migrations import VERSION


async def names_after_opening(path: Path, **options: object) -> set[str]:
    given = SQLiteOptions.model_validate({"path": path, **options})
    async with SQLiteProvider(given) as provider:
        assert await provider.read_instance("a") is None
    return {each.name for each in path.parent.iterdir()}


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_nothing_but_the_file_is_left(tmp_path, durability):
    assert await names_after_opening(tmp_path / "x.db", durability=durability) == {"x.db"}


async def test_an_empty_file_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "x.db"
    path.touch()

    with pytest.raises(StorageCorrupt, match="is empty.*or delete it to start with a new one"):
        await names_after_opening(path, busy_timeout=0)

    assert path.stat().st_size == 0


async def test_a_file_that_was_cut_off_to_nothing_is_refused(tmp_path, make):
    path = tmp_path / "x.db"
    async with SQLiteProvider(SQLiteOptions(path=path)) as provider:
        await provider.create_instance(make.new("a"))
    os.truncate(path, 0)

    with pytest.raises(StorageCorrupt, match="is empty"):
        await names_after_opening(path, busy_timeout=0)


@pytest.mark.slow
def test_a_file_that_another_process_is_writing_just_now_is_waited_for(tmp_path):
    path = tmp_path / "x.db"
    path.touch()
    writing = threading.Timer(0.1, path.write_bytes, [b"something"])
    writing.start()

    ensure_file(path, durable=True, patience=30)

    writing.join()
    assert path.read_bytes() == b"something"


async def test_a_file_system_without_links_does_too(tmp_path, monkeypatch):
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)

    assert await names_after_opening(tmp_path / "x.db") == {"x.db"}


async def test_a_process_that_dies_while_making_it_leaves_no_file_of_that_name(
    tmp_path, monkeypatch
):
    path = tmp_path / "x.db"

    def die(source: object, target: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.link", die)
        with pytest.raises(KeyboardInterrupt):
            ensure_file(path, durable=True, patience=0)

    assert not path.exists()
    assert await names_after_opening(path) == {"x.db"}


def test_what_a_dead_process_left_aside_disturbs_nothing(tmp_path):
    path = tmp_path / "x.db"
    aside = tmp_path / f".perdure-{os.getpid()}-{threading.get_native_id()}.new"
    aside.write_bytes(b"half a file")

    ensure_file(path, durable=False, patience=0)

    connection = sqlite3.connect(path)
    assert connection.execute("SELECT value FROM perdure_meta").fetchall() == [(str(VERSION),)]
    connection.close()
    assert {each.name for each in tmp_path.iterdir()} == {"x.db"}


def test_a_file_that_another_process_made_meanwhile_is_taken(tmp_path, monkeypatch):
    path = tmp_path / "x.db"

    def come_first(source: object, target: object) -> None:
        path.write_bytes(b"of another process")
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr("os.link", come_first)

    ensure_file(path, durable=True, patience=0)

    assert path.read_bytes() == b"of another process"


def test_no_room_to_make_it_is_told(tmp_path, monkeypatch):
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.link", refuse)

    with pytest.raises(StorageFailed, match="No space left on device"):
        ensure_file(tmp_path / "x.db", durable=True, patience=0)

    assert list(tmp_path.iterdir()) == []


async def test_a_link_to_where_there_is_no_file_yet_is_followed(tmp_path):
    (tmp_path / "data").mkdir()
    link = tmp_path / "x.db"
    link.symlink_to(tmp_path / "data" / "real.db")

    assert await names_after_opening(link) == {"data", "x.db"}

    assert [each.name for each in (tmp_path / "data").iterdir()] == ["real.db"]


def test_of_two_that_make_it_without_links_the_second_takes_what_the_first_made(
    tmp_path, monkeypatch
):
    path = tmp_path / "x.db"

    def refuse(source: object, target: object) -> None:
        # The other has claimed the name meanwhile, and has not put the file there yet.
        if not path.exists():
            path.touch()
            threading.Timer(0.05, path.write_bytes, [b"of the first"]).start()
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)

    ensure_file(path, durable=True, patience=30)

    assert path.read_bytes() == b"of the first"


@pytest.mark.parametrize("exists", [False, True])
def test_what_a_killed_creation_left_long_ago_is_removed_and_nothing_else(tmp_path, exists):
    path = tmp_path / "x.db"
    if exists:
        ensure_file(path, durable=False, patience=0)
    long_ago = time.time() - 3600
    leftovers = [tmp_path / f".perdure-123-456.new{suffix}" for suffix in ("", "-wal", "-shm")]
    others = [tmp_path / ".perdure-notes.new", tmp_path / "x.new"]
    for file in (*leftovers, *others):
        file.touch()
        os.utime(file, (long_ago, long_ago))
    under_way = tmp_path / ".perdure-789-1.new"
    under_way.touch()

    ensure_file(path, durable=False, patience=0)

    assert set(tmp_path.iterdir()) == {path, under_way, *others}
