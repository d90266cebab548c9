"""Threads for blocking activities: daemons, so that a function that hangs never keeps a process.

The interpreter joins the threads of `concurrent.futures` when it exits, whatever runs in them. It
does not join these: a function that is still in its thread ends with the process, as by a kill.

The pool queues nothing: its caller begins no more functions than there are threads. A thread whose
caller was cancelled stays taken until its function ends; `abandoned` counts these.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar, cast

T = TypeVar("T")


@dataclass(slots=True, eq=False, repr=False)
class _Call(Generic[T]):
    """A function in its thread, and the future of its caller."""

    function: Callable[[], T]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]
    has_ended: bool = False
    result: T | None = None
    error: BaseException | None = None


class ThreadPool:
    """See the module. Used by one event loop."""

    def __init__(self) -> None:
        self._work: SimpleQueue[_Call[object] | None] = SimpleQueue()
        self._numbers = itertools.count()
        self._idle = 0
        self._is_closed = False
        self.abandoned = 0
        """Functions that go on although their callers were cancelled."""
        self.when_freed: Callable[[], None] = lambda: None
        """Called when such a function has ended."""

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns or raises; cancelled, the function goes on without effect."""
        loop = asyncio.get_running_loop()
        call = _Call[T](function, loop, loop.create_future())
        if self._idle:
            self._idle -= 1
        else:
            self._start_thread()
        self._work.put(cast("_Call[object]", call))
        try:
            await call.done
        except asyncio.CancelledError:
            if not call.has_ended:
                self.abandoned += 1
            raise
        if call.error is not None:
            raise call.error
        return cast("T", call.result)

    def close(self) -> None:
        """Let the threads end, those at work when their functions do."""
        self._is_closed = True
        for _ in range(self._idle):
            self._work.put(None)
        self._idle = 0

    def _start_thread(self) -> None:
        name = f"perdure-activity_{next(self._numbers)}"
        threading.Thread(target=self._work_on, name=name, daemon=True).start()

    def _work_on(self) -> None:
        while (call := self._work.get()) is not None:
            try:
                call.result = call.function()
            except BaseException as error:  # noqa: BLE001 # it is the caller's to judge
                call.error = error
            try:
                call.loop.call_soon_threadsafe(self._end, call)
            except RuntimeError:
                return  # the loop is closed, and so is the pool
            # A thread that waits for work must not keep the last result alive.
            del call

    def _end(self, call: _Call[object]) -> None:
        call.has_ended = True
        if self._is_closed:
            self._work.put(None)
        else:
            self._idle += 1
        if call.done.done():
            self.abandoned -= 1
            self.when_freed()
        else:
            call.done.set_result(None)
