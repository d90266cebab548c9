"""Waits for the signals that ask a process to stop: SIGTERM, and SIGINT (Ctrl-C)."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from perdure.errors import PerdureError

_LOGGER = logging.getLogger("perdure.runtime")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def wait_for_stop_signal() -> None:
    """Return at the first SIGTERM or SIGINT; from then on they do what they did before the call.

    Raises `PerdureError` outside of the main thread: no other can handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        raise PerdureError(
            "run_until_stopped() was called outside the main thread, and only the main thread can"
            " handle signals; call it there, or wait for an event of your own"
        )
    loop = asyncio.get_running_loop()
    received: asyncio.Future[int] = loop.create_future()

    def note(number: int) -> None:
        if not received.done():
            received.set_result(number)

    with _handled(loop, note):
        number = await received
    _LOGGER.info("the runtime stops: the process got %s", signal.Signals(number).name)


@contextmanager
def _handled(loop: asyncio.AbstractEventLoop, note: Callable[[int], None]) -> Generator[None]:
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    in_loop: list[int] = []
    try:
        for number in _SIGNALS:
            try:
                loop.add_signal_handler(number, note, number)
                in_loop.append(number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda number, _: loop.call_soon_threadsafe(note, number))
        yield
    finally:
        for number, handler in before.items():
            if number in in_loop:
                loop.remove_signal_handler(number)
            # None: the handler was not set from Python.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
