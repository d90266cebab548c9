"""The thread that holds a provider open for blocking clients: it opens, closes and fails in it."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest
from perdure.client.loop_thread import LoopThread
from perdure_memory import MemoryProvider


class Opening:
    """Opens a provider, and notes where."""

    def __init__(self, *, opening: Exception | None = None, closing: Exception | None = None):
        self.threads: list[str] = []
        self._opening = opening
        self._closing = closing

    @asynccontextmanager
    async def __call__(self):
        self.threads.append(threading.current_thread().name)
        if self._opening is not None:
            raise self._opening
        yield MemoryProvider()
        self.threads.append(threading.current_thread().name)
        if self._closing is not None:
            raise self._closing


def alive() -> int:
    return sum(thread.name == "perdure-client" for thread in threading.enumerate())


def test_a_provider_is_opened_and_closed_in_the_same_thread_which_then_ends() -> None:
    opening = Opening()
    thread = LoopThread(opening)
    while_open = alive()
    thread.close()

    assert opening.threads == ["perdure-client", "perdure-client"]
    assert (while_open, alive()) == (1, 0)


def test_a_call_is_made_on_the_loop_of_the_thread() -> None:
    thread = LoopThread(Opening())

    async def where() -> str:
        return threading.current_thread().name

    loop = thread._open.loop
    found = asyncio.run_coroutine_threadsafe(where(), loop).result(5)
    thread.close()

    assert found == "perdure-client"
    assert loop.is_closed()


def test_what_opening_raises_reaches_the_caller_and_leaves_no_thread() -> None:
    with pytest.raises(OSError, match="no such place"):
        LoopThread(Opening(opening=OSError("no such place")))

    assert alive() == 0


def test_what_closing_raises_reaches_the_caller_once() -> None:
    thread = LoopThread(Opening(closing=OSError("the disk is full")))

    with pytest.raises(OSError, match="the disk is full"):
        thread.close()
    thread.close()

    assert alive() == 0
