"""A thread with an event loop of its own, which opens a provider and keeps it open.

The provider is opened, used and closed on that loop, as the contract requires. Calls reach it
through `Provider.event_loop`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager

from perdure.contract.provider import Provider
from perdure.model.record import record


@record
class _Open:
    """The provider, once it is open, and its loop."""

    provider: Provider
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event


class LoopThread:
    """Keeps a provider open on a loop of its own, until `close`."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Provider]]) -> None:
        """Start the thread and open the provider; raises the errors of opening it."""
        self._opening = opening
        self._process = os.getpid()
        self._opened: Future[_Open] = Future()
        self._error: BaseException | None = None
        self._closing = False
        # A daemon thread, because a client that is never closed must not keep the process alive.
        self._thread = threading.Thread(target=self._serve, name="perdure-client", daemon=True)
        try:
            self._thread.start()
            self._open = self._opened.result()
        except BaseException:
            # After an interrupt the thread must not keep the storage open.
            self._ask_to_stop()
            raise

    @property
    def provider(self) -> Provider:
        """The provider; call its async methods on the thread's loop only."""
        return self._open.provider

    def close(self) -> None:
        """Close the provider and end the thread; raises the errors of closing the provider.

        A second call has no effect, and neither has a call in a fork.
        """
        if os.getpid() != self._process or self._closing:
            return
        self.provider.event_loop.check_blocking()
        self._ask_to_stop()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _ask_to_stop(self) -> None:
        self._closing = True
        # If the provider is not open yet, the thread checks `_closing` as soon as it is.
        if self._opened.done() and self._opened.exception() is None:
            opened = self._opened.result()
            opened.loop.call_soon_threadsafe(opened.stop.set)

    def _serve(self) -> None:
        try:
            asyncio.run(self._hold_open())
        except BaseException as error:  # noqa: BLE001 # handed to the caller that opens or closes
            if self._opened.done():
                self._error = error
            else:
                self._opened.set_exception(error)

    async def _hold_open(self) -> None:
        async with self._opening() as provider, provider.event_loop.opened():
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._opened.set_result(_Open(provider=provider, loop=loop, stop=stop))
            if not self._closing:
                await stop.wait()
