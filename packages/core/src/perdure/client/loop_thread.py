"""A thread that opens a provider on an event loop of its own, and holds it open.

The provider is opened, used and closed on that one loop, as the contract asks; calls reach it by
its `home`.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from perdure.contract.provider import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """What the thread offers once the provider is open."""

    provider: Provider
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event


class LoopThread:
    """Holds a provider open on a loop of its own, until it is closed."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Provider]]) -> None:
        """Start the thread and open the provider; raises what opening it raises."""
        self._opening = opening
        self._process = os.getpid()
        self._opened: Future[_Open] = Future()
        self._trouble: BaseException | None = None
        self._closing = False
        # A daemon: a client that is never closed must not keep the process alive.
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

    def close(self) -> None:
        """Close the provider and end the thread.

        Raises what closing the provider raises. Again, or in a fork, it does nothing.
        """
        if os.getpid() != self._process or self._closing:
            return
        self.provider.home.check_blocking()
        self._ask_to_stop()
        self._thread.join()
        if self._trouble is not None:
            raise self._trouble

    def _ask_to_stop(self) -> None:
        self._closing = True
        # Where it is not open yet, the thread sees `_closing` as soon as it is.
        if self._opened.done() and self._opened.exception() is None:
            opened = self._opened.result()
            opened.loop.call_soon_threadsafe(opened.stop.set)

    def _serve(self) -> None:
        try:
            asyncio.run(self._hold_open())
        except BaseException as error:  # noqa: BLE001 # handed to the caller that opens or closes
            if self._opened.done():
                self._trouble = error
            else:
                self._opened.set_exception(error)

    async def _hold_open(self) -> None:
        async with self._opening() as provider, provider.home.opened():
            stop = asyncio.Event()
            loop = asyncio.get_running_loop()
            self._opened.set_result(_Open(provider=provider, loop=loop, stop=stop))
            if not self._closing:
                await stop.wait()
