"""A thread with an event loop, on which callers without a loop make a client's calls.

The provider is opened, used and closed on that one loop, as the contract asks. Any number of
threads may call at once. After a fork the child has no such thread: every use is refused there,
before any lock is taken that the fork may have left locked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from perdure.contract.provider import Provider
from perdure.errors import ClientUnusable
from perdure.inside import refuse_inside_orchestration

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """What the thread offers once the provider is open."""

    provider: Provider
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event


class _Ticket:
    """Lets a thread give up a call at any moment, before and after its task exists.

    The thread marks the ticket and then looks for the task, the loop sets the task and then looks
    for the mark: whoever is second sees the other.
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


class LoopThread:
    """Holds a provider open on a loop of its own, until it is closed."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Provider]]) -> None:
        """Start the thread and open the provider; raises what opening it raises."""
        self._opening = opening
        self._process = os.getpid()
        self._opened: Future[_Open] = Future()
        self._trouble: BaseException | None = None
        self._guard = threading.Lock()
        self._closing = False
        self._calls: set[asyncio.Task[object]] = set()
        # A daemon: a client that nobody closes must not keep the process alive.
        self._thread = threading.Thread(target=self._serve, name="perdure-client", daemon=True)
        try:
            self._thread.start()
            self._open = self._opened.result()
        except BaseException:
            # An interrupt while it opens: the thread must not hold the storage open then.
            self._ask_to_stop()
            raise

    @property
    def provider(self) -> Provider:
        """The provider; its async methods are for the thread's loop only."""
        return self._open.provider

    def run(self, call: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Make the call on the loop, and wait for its answer.

        An exception in the waiting thread, such as KeyboardInterrupt, cancels the call.
        """
        self.check()

        async def make() -> R:
            return await call(*args, **kwargs)

        ticket = _Ticket()
        try:
            with self._guard:
                # Checked again under the guard, so that no call reaches a loop that is closing.
                self.check()
                making = self._keep(ticket, make)
                answer = asyncio.run_coroutine_threadsafe(making, self._open.loop)
            return answer.result()
        except CancelledError:
            if not self._closing:
                raise
            raise ClientUnusable(
                "the client was closed during the call, which may have taken effect; open"
                " another one and look"
            ) from None
        except BaseException:
            ticket.give_up(self._open.loop)
            raise

    def check(self) -> None:
        """Raise `ClientUnusable` where no call can be made."""
        refuse_inside_orchestration("a blocking client", "call it in an activity")
        if os.getpid() != self._process:
            raise ClientUnusable(
                f"a client that process {self._process} opened was used in its fork {os.getpid()},"
                " where its thread does not exist; open one after the fork"
            )
        if threading.get_ident() == self._thread.ident:
            raise ClientUnusable(
                "a blocking client was called on its own event loop, which would wait for itself"
                " for ever; call it from another thread"
            )
        if self._closing:
            raise ClientUnusable("the client is closed; open another one")

    def close(self) -> None:
        """Cancel the calls under way, close the provider and end the thread.

        Raises what closing the provider raises. Again, or in a fork, it does nothing.
        """
        if os.getpid() != self._process or self._closing:
            return
        self.check()
        self._ask_to_stop()
        self._thread.join()
        if self._trouble is not None:
            raise self._trouble

    def _ask_to_stop(self) -> None:
        with self._guard:
            self._closing = True
            # Where it is not open yet, the thread sees `_closing` as soon as it is.
            if self._opened.done() and self._opened.exception() is None:
                opened = self._opened.result()
                opened.loop.call_soon_threadsafe(opened.stop.set)

    def _serve(self) -> None:
        try:
            asyncio.run(self._hold_open())
        except BaseException as error:  # noqa: BLE001 # handed to whoever opens or closes
            if self._opened.done():
                self._trouble = error
            else:
                self._opened.set_exception(error)

    async def _hold_open(self) -> None:
        async with self._opening() as provider:
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._opened.set_result(_Open(provider=provider, loop=loop, stop=stop))
            if not self._closing:
                await stop.wait()
            # Before the provider closes, so that no call meets a closed one.
            for call in self._calls:
                call.cancel()
            if self._calls:
                await asyncio.wait(self._calls)

    async def _keep(self, ticket: _Ticket, make: Callable[[], Awaitable[R]]) -> R:
        task = ticket.begin()
        self._calls.add(task)
        try:
            return await make()
        finally:
            self._calls.discard(task)
