"""The event loop of a provider object, and calls to it from other loops and threads.

A provider may only be used on the loop that opened it. A client can be used on every loop and thread
of the process: its calls run on the provider's loop, and the caller waits for the result.

Every call gets a result: closing refuses further calls, cancels those under way, and waits for them
while the loop still runs. Accepting a call and beginning to close take the same lock, so each call is
either refused, or cancelled by the closing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import TypeVar

from perdure.errors import ClientUnusable

R = TypeVar("R")


class _CancellableCall:
    """Lets a thread cancel a call at any moment, before and after its task exists.

    The thread sets the mark and then reads the task; the loop sets the task and then reads the mark.
    The one that comes second sees what the other has set.
    """

    def __init__(self) -> None:
        self._is_cancelled = False
        self._task: asyncio.Task[object] | None = None

    def begin(self) -> asyncio.Task[object]:
        """Called on the loop, in the task of the call; returns that task."""
        task = self._task = asyncio.current_task()
        if task is None or self._is_cancelled:
            raise asyncio.CancelledError
        return task

    def cancel(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called in the thread: cancel the call, unless it has ended."""
        self._is_cancelled = True
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the call with it
                loop.call_soon_threadsafe(self._task.cancel)


class ProviderLoop:
    """The event loop on which one provider object is open.

    A provider that was created directly and never opened has no loop; calls run where they are made.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: int | None = None
        self._process = 0
        self._closed = False
        self._guard = threading.Lock()
        self._calls: set[asyncio.Task[object]] = set()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Accept calls for the running loop while the block lasts; a nested block has no effect."""
        if self._loop is not None:
            yield
            return
        self._thread = threading.get_ident()
        self._process = os.getpid()
        self._loop = asyncio.get_running_loop()
        try:
            yield
        finally:
            with self._guard:
                self._closed = True
            # Tasks of calls that were accepted last exist, but have not begun.
            await asyncio.sleep(0)
            for call in self._calls:
                call.cancel()
            if self._calls:
                await asyncio.wait(self._calls)

    @property
    def is_closed(self) -> bool:
        """Whether the provider was opened and closed again."""
        return self._closed

    @property
    def blocks(self) -> bool:
        """Whether a call blocks the thread that makes it, so that no event loop need run there."""
        return False

    def check_waiting(self) -> None:
        """Raise `ClientUnusable` if what a client waits for cannot happen while it waits."""

    def check_working(self) -> None:
        """Raise `ClientUnusable` if no runtime can work on the provider."""

    def is_running_here(self) -> bool:
        """Whether calls run directly on the running loop; raises `ClientUnusable` once closed."""
        if self._closed:
            raise self._refusal_of_closed()
        return self._loop is None or asyncio.get_running_loop() is self._loop

    async def call(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make the call on the provider's loop, and await its result on this one.

        Cancelling the wait cancels the call. Raises `ClientUnusable` in a fork, and if the provider is
        closed before the result arrives.
        """
        return await asyncio.wrap_future(self._accept(_CancellableCall(), call))

    def call_blocking(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make the call on the provider's loop, and block this thread until its result arrives.

        An exception in the blocked thread, such as KeyboardInterrupt, cancels the call.
        Raises `ClientUnusable` like `call`, and in the thread of the provider's loop.
        """
        self.check_blocking()
        cancellable = _CancellableCall()
        try:
            return self._accept(cancellable, call).result()
        except BaseException:
            if self._loop is not None:
                cancellable.cancel(self._loop)
            raise

    def check_blocking(self) -> None:
        """Raise `ClientUnusable` if this thread cannot wait for a call."""
        self._open_loop()
        if threading.get_ident() == self._thread:
            raise ClientUnusable(
                "a blocking client was called on its own event loop, which would wait for itself"
                " for ever; call it from another thread, or use Client on this loop"
            )

    def _open_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise ClientUnusable(
                f"the provider {self._description} was not opened; open it with"
                " perdure.open_provider and keep that block open"
            )
        if os.getpid() != self._process:
            raise ClientUnusable(
                f"a client of a provider that process {self._process} opened was used in its fork"
                f" {os.getpid()}, where its event loop does not run; open one after the fork"
            )
        if self._closed:
            raise self._refusal_of_closed()
        return self._loop

    def _accept(self, cancellable: _CancellableCall, call: Callable[[], Awaitable[R]]) -> Future[R]:
        # Before taking the lock, which a fork may have left locked.
        loop = self._open_loop()
        with self._guard:
            if self._closed:
                raise self._refusal_of_closed()
            making = self._make(cancellable, call)
            try:
                return asyncio.run_coroutine_threadsafe(making, loop)
            except RuntimeError:  # the loop was closed without leaving the provider's block
                making.close()
                raise self._refusal_of_closed() from None

    async def _make(self, cancellable: _CancellableCall, call: Callable[[], Awaitable[R]]) -> R:
        task = cancellable.begin()
        self._calls.add(task)
        try:
            if self._closed:
                raise self._refusal_of_closed()
            return await call()
        except asyncio.CancelledError:
            if self._closed:
                raise ClientUnusable(
                    f"the provider {self._description} was closed during the call, which may have"
                    " taken effect; open it again and look"
                ) from None
            raise
        finally:
            self._calls.discard(task)

    def _refusal_of_closed(self) -> ClientUnusable:
        return ClientUnusable(
            f"the provider {self._description} is closed; open it again, and make a client of it"
        )
