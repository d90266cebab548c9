"""The event loop that a provider object belongs to, and the calls that reach it from elsewhere.

A provider is used on the loop that opened it alone. A client serves every loop and thread of the
process all the same: a call from another one is made on the provider's loop, and its answer is
carried back.

No call is left without an answer: closing takes no further calls, cancels those under way and
waits for them while the loop still runs. A call is accepted and closing begins under one lock, so
each call is either refused, or known to the closing.
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


class _Ticket:
    """Lets a thread give up a call at any moment, before and after its task exists.

    The thread marks the ticket and then looks for the task, the loop sets the task and then looks
    for the mark: whichever is second sees the other.
    """

    def __init__(self) -> None:
        self._given_up = False
        self._task: asyncio.Task[object] | None = None

    def begin(self) -> asyncio.Task[object]:
        """Of the loop: the task of the call, which is this one."""
        task = self._task = asyncio.current_task()
        if task is None or self._given_up:
            raise asyncio.CancelledError
        return task

    def give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Of the thread: cancel the call, unless it has ended."""
        self._given_up = True
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the call with it
                loop.call_soon_threadsafe(self._task.cancel)


class ProviderHome:
    """The loop of one provider object, while the provider is open there.

    A provider that was made by hand and never opened has no home; it is used where it is called.
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
        """Take calls for the running loop while the block lasts; a block inside changes nothing."""
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
            # The calls that were accepted last have their tasks, but have not begun.
            await asyncio.sleep(0)
            for call in self._calls:
                call.cancel()
            if self._calls:
                await asyncio.wait(self._calls)

    @property
    def is_closed(self) -> bool:
        """Whether the provider was open here, and is open no longer."""
        return self._closed

    def is_here(self) -> bool:
        """Whether a call is made on the running loop itself; raises `ClientUnusable` once closed."""
        if self._closed:
            raise self._refusal_of_closed()
        return self._loop is None or asyncio.get_running_loop() is self._loop

    async def carry(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make the call on the provider's loop, and wait for its answer on this one.

        Cancelling the wait cancels the call. Raises `ClientUnusable` where the provider is closed
        before the answer is there, and in a fork.
        """
        return await asyncio.wrap_future(self._accept(_Ticket(), call))

    def wait_for(self, call: Callable[[], Awaitable[R]]) -> R:
        """Make the call on the provider's loop, and block this thread until its answer is there.

        An exception in the waiting thread, such as KeyboardInterrupt, cancels the call.
        Raises `ClientUnusable` as `carry` does, and in the thread of the provider's loop.
        """
        self.check_blocking()
        ticket = _Ticket()
        try:
            return self._accept(ticket, call).result()
        except BaseException:
            if self._loop is not None:
                ticket.give_up(self._loop)
            raise

    def check_blocking(self) -> None:
        """Raise `ClientUnusable` where a thread cannot wait for a call."""
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

    def _accept(self, ticket: _Ticket, call: Callable[[], Awaitable[R]]) -> Future[R]:
        # Before the lock, which a fork may have left locked.
        loop = self._open_loop()
        with self._guard:
            if self._closed:
                raise self._refusal_of_closed()
            making = self._make(ticket, call)
            try:
                return asyncio.run_coroutine_threadsafe(making, loop)
            except RuntimeError:  # the loop was closed without leaving the provider's block
                making.close()
                raise self._refusal_of_closed() from None

    async def _make(self, ticket: _Ticket, call: Callable[[], Awaitable[R]]) -> R:
        task = ticket.begin()
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
