"""Futures and tasks of an orchestration: their hashes are the same in every process.

asyncio keeps them in sets, and the order of a set decides what is cancelled first. The future of
scheduled work tells the engine when it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Protocol, TypeVar

from perdure.diagnostics.failures import ends_the_process
from perdure.errors import InvalidPayload
from perdure.model.payload import decode
from perdure.replay.stable_hashes import StableHashLoop

T = TypeVar("T")


class OrchestrationFuture(asyncio.Future[T]):
    """A future whose hash is the same in every process."""

    __slots__ = ("_hash",)

    def __init__(self, *, loop: StableHashLoop) -> None:
        self._hash = loop.next_hash()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash


class OrchestrationTask(asyncio.Task[T]):
    """A task whose hash is the same in every process."""

    __slots__ = ("_hash", "attempts_of", "was_awaited")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        loop: StableHashLoop,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        self._hash = loop.next_hash()
        self.was_awaited = False
        """Whether something waited for it once and does not any more; see `unawaited`."""
        self.attempts_of = ""
        """The activity whose attempts it makes, where that is its purpose."""
        super().__init__(coroutine, loop=loop, name=name or f"task-{loop.created}", context=context)

    def __hash__(self) -> int:
        return self._hash

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        """Take a callback back, and note that there was one."""
        self.was_awaited = True
        return super().remove_done_callback(callback)


class CancellationPort(Protocol):
    """Who is told that scheduled work is not wanted any more."""

    def work_cancelled(self, scheduled: int) -> None:
        """The future of this schedule event was cancelled."""
        ...

    def request_end(self, scheduled: int) -> bool:
        """The work of this schedule event should end soon, and its outcome is still wanted.

        False where there is no outcome to wait for: then it may be cancelled.
        """
        ...


class ScheduledFuture(OrchestrationFuture[T]):
    """Of work under the number of its schedule event.

    The user holds it too and may have settled or cancelled it: then what comes later is ignored.
    """

    __slots__ = ("_port", "scheduled", "was_awaited")

    def __init__(self, *, loop: StableHashLoop, port: CancellationPort, scheduled: int) -> None:
        super().__init__(loop=loop)
        self._port = port
        self.scheduled = scheduled
        self.was_awaited = False
        """Whether something waited for it once and does not any more; see `unawaited`."""

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        """Take a callback back, and note that there was one."""
        self.was_awaited = True
        return super().remove_done_callback(callback)

    def cancel(self, msg: object = None) -> bool:
        """Cancel, and tell the engine that the work is not wanted any more."""
        if not super().cancel(msg):
            return False
        self._port.work_cancelled(self.scheduled)
        return True

    def settle(self, text: str, result_type: object, what: str) -> None:
        """Set the decoded result, or what decoding raises: validators are the user's code."""
        unfit = self.settle_if_fit(text, result_type, what)
        if unfit is not None:
            self.fail(unfit)

    def settle_if_fit(self, text: str, result_type: object, what: str) -> InvalidPayload | None:
        """The same, but where the text does not fit the type, this is returned and nothing set."""
        try:
            value = decode(text, result_type, what=what)
        except InvalidPayload as error:
            return error
        except BaseException as error:
            if ends_the_process(error):
                raise
            self.fail(error)
        else:
            self.succeed(value)
        return None

    def succeed(self, value: T) -> None:
        """Set the result."""
        if not self.done():
            self.set_result(value)

    def fail(self, error: BaseException) -> None:
        """Set the error, which need not be awaited: ignoring scheduled work is no mistake."""
        if not self.done():
            if isinstance(error, StopIteration):
                # A future does not carry it: in the coroutine that awaits it would be a return.
                stopped, error = error, RuntimeError("StopIteration was raised")
                error.__cause__ = stopped
            self.set_exception(error)
            self._log_traceback = False


class PatientFuture(ScheduledFuture[T]):
    """Of work whose outcome is waited for when it is cancelled: nothing of it is dropped.

    Cancelling it asks the work to end, and leaves the future pending until the outcome is there.
    Whoever awaits it gets the outcome, unless it was cancelled itself meanwhile: then it gets
    its `CancelledError` when the outcome is there, and finds the outcome here.
    """

    __slots__ = ("_message",)

    def __init__(self, *, loop: StableHashLoop, port: CancellationPort, scheduled: int) -> None:
        super().__init__(loop=loop, port=port, scheduled=scheduled)
        self._message: object = None

    def cancel(self, msg: object = None) -> bool:
        """Ask the work to end; cancel at once where none is under way."""
        if self.done():
            return False
        if not self._port.request_end(self.scheduled):
            return super().cancel(msg)
        self._message = msg
        return True

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the outcome, and only then let a cancellation of the awaiting task go on."""
        task = asyncio.current_task()
        before = _cancellations(task)
        try:
            result = yield from super().__await__()
        except Exception:
            self._continue_cancellation(_cancellations(task) - before)
            raise
        self._continue_cancellation(_cancellations(task) - before)
        return result

    __iter__ = __await__

    def _continue_cancellation(self, cancellations: int) -> None:
        if cancellations > 0:
            raise asyncio.CancelledError(*(() if self._message is None else (self._message,)))


def _cancellations(task: asyncio.Task[Any] | None) -> int:
    """How many cancellations the task was asked for and has had thrown into it."""
    if task is None:
        return 0
    # One that is still to be thrown arrives at the await that begins now.
    pending = bool(task._must_cancel)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType] # no public way to ask
    return task.cancelling() - pending
