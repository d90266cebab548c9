"""The watch of a file: one notice for each time it is armed, and silence where the system has none."""

import asyncio
import ctypes
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from perdure_sqlite._waiting.file_watch import FileWatch


class Watched:
    """A watch of a file, and how often it has told of a write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told = 0
        self._notice = asyncio.Event()
        self.watch = FileWatch(str(path), self._note)

    def _note(self) -> None:
        self.told += 1
        self._notice.set()

    async def notice(self) -> None:
        await asyncio.wait_for(self._notice.wait(), 10)
        self._notice.clear()


@pytest.fixture
async def watched(tmp_path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "log")
    yield watched
    watched.watch.close()


@pytest.fixture
def on_linux(watched) -> Watched:
    if not watched.watch.is_supported:
        pytest.skip("this system tells of no writes")
    return watched


async def test_a_write_is_told_once_for_each_time_it_is_asked_for(on_linux):
    on_linux.path.write_bytes(b"1")
    on_linux.watch.arm()
    on_linux.watch.arm()
    on_linux.path.write_bytes(b"22")
    await on_linux.notice()
    on_linux.path.write_bytes(b"333")
    on_linux.watch.arm()
    on_linux.path.write_bytes(b"4444")
    await on_linux.notice()

    assert on_linux.told == 2


async def test_a_file_that_is_missing_is_watched_once_it_is_there(on_linux):
    on_linux.watch.arm()
    on_linux.path.write_bytes(b"1")
    on_linux.watch.arm()
    on_linux.path.write_bytes(b"22")

    await on_linux.notice()


async def test_a_closed_watch_tells_of_nothing(on_linux):
    on_linux.path.write_bytes(b"1")
    on_linux.watch.arm()
    on_linux.path.write_bytes(b"22")
    on_linux.watch.close()
    on_linux.watch.close()
    on_linux.watch.arm()
    await asyncio.sleep(0)

    assert on_linux.told == 0
    assert not on_linux.watch.is_supported


@pytest.mark.parametrize("lacks", ["the system", "the library", "the loop", "room"])
async def test_where_the_system_tells_of_no_writes_the_watch_does_nothing(
    tmp_path, monkeypatch, lacks
):
    class Library:
        def __init__(self, name: object) -> None:
            if lacks == "room":
                self.inotify_init1 = lambda flags: -1

    if lacks == "the system":
        monkeypatch.setattr(sys, "platform", "darwin")
    elif lacks == "the loop":
        loop = asyncio.get_running_loop()

        def refuse(*given: object) -> None:
            raise NotImplementedError

        monkeypatch.setattr(loop, "add_reader", refuse, raising=False)
    else:
        monkeypatch.setattr(ctypes, "CDLL", Library)
    watched = Watched(tmp_path / "log")
    watched.path.write_bytes(b"1")

    watched.watch.arm()
    watched.path.write_bytes(b"22")
    watched.watch.close()

    assert not watched.watch.is_supported
    assert watched.told == 0
