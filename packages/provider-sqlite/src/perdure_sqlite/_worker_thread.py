"""A thread that runs one call after another for an event loop.

It takes calls from a queue and answers each with one `call_soon_threadsafe`. It is a daemon thread,
so it never delays the end of the process: calls that it has not finished were not acknowledged.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")

_LONGEST_BEGIN = 0.001
"""Seconds for which the event loop waits until a call has begun."""


class WorkerThread:
    """One thread, started with the object."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def post(
        self, call: Callable[[], None], answer: Callable[[BaseException | None], None]
    ) -> None:
        """Run `call` in the thread, then `answer` in the event loop."""

        def run() -> None:
            error: BaseException | None = None
            try:
                call()
            except BaseException as raised:  # noqa: BLE001 # handed to the event loop
                error = raised
            try:
                self._loop.call_soon_threadsafe(answer, error)
            except RuntimeError:
                # The loop was closed before the provider, so there is no caller to answer.
                return

        self._calls.put(run)

    def post_and_let_begin(
        self, call: Callable[[], None], answer: Callable[[BaseException | None], None]
    ) -> None:
        """The same for a call that must not wait for the interpreter lock, which a busy loop holds.

        The loop lets go of the lock until the call has begun, for a millisecond at most.
        """
        begun = threading.Lock()
        begun.acquire()

        def begin() -> None:
            begun.release()
            call()

        self.post(begin, answer)
        begun.acquire(timeout=_LONGEST_BEGIN)

    async def run(self, call: Callable[[], Result]) -> Result:
        """The result of `call`, which runs in the thread. Cancelling the wait does not stop the call."""
        future: asyncio.Future[Result] = self._loop.create_future()
        results: list[Result] = []

        def answer(error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(results[0])

        self.post(lambda: results.append(call()), answer)
        return await future

    def stop(self) -> None:
        """End the thread after the calls that were posted, and wait until it has ended."""
        self.dismiss()
        self._thread.join()

    def dismiss(self) -> None:
        """End the thread after the calls that were posted, without waiting for it."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
