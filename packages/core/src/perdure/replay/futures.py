"""Futures and tasks of an orchestration, whose hashes are the same in every process.

asyncio keeps them in sets, and the order of a set decides which of them is cancelled first. A
future of scheduled work notifies the engine when it is cancelled.
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
        """Whether something stopped waiting for it; see `unawaited`."""
        self.attempts_of = ""
        """The activity whose attempts it makes; empty for other tasks."""
        super().__init__(coroutine, loop=loop, name=name or f"task-{loop.created}", context=context)

    def __hash__(self) -> int:
        return self._hash

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        """Remove a callback, and record that there was one."""
        self.was_awaited = True
        return super().remove_done_callback(callback)


class CancellationPort(Protocol):
    """Takes the cancellations of futures of scheduled work."""

    def work_cancelled(self, scheduled: int) -> None:
        """The future of this schedule event was cancelled."""
        ...

    def request_end(self, scheduled: int) -> bool:
        """Ask the work of this schedule event to end; its outcome is still awaited.

        Returns False if there is no outcome to wait for, so that the future can be cancelled.
        """
        ...


class ScheduledFuture(OrchestrationFuture[T]):
    """The future of scheduled work.

    User code holds it too. If user code has settled or cancelled it, a later outcome is ignored.
    """

    __slots__ = ("_port", "scheduled", "was_awaited")

    def __init__(self, *, loop: StableHashLoop, port: CancellationPort, scheduled: int) -> None:
        # What the base class does, without another call: each step makes such a future.
        self._hash = loop.next_hash()
        asyncio.Future.__init__(self, loop=loop)  # pyright: ignore[reportUnknownMemberType] # typed by its class alone
        self._port = port
        self.scheduled = scheduled
        self.was_awaited = False
        """Whether something stopped waiting for it; see `unawaited`."""

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        """Remove a callback, and record that there was one."""
        self.was_awaited = True
        return super().remove_done_callback(callback)

    def cancel(self, msg: object = None) -> bool:
        """Cancel the future, and with it the work."""
        if not super().cancel(msg):
            return False
        self._port.work_cancelled(self.scheduled)
        return True

    def settle(self, text: str, result_type: object, what: str) -> None:
        """Set the decoded result, or the exception that decoding raises."""
        try:
            value = decode(text, result_type, what=what)
        except BaseException as error:
            if ends_the_process(error):
                raise
            self.fail(error)
        else:
            if not self.done():
                self.set_result(value)

    def settle_if_fit(self, text: str, result_type: object, what: str) -> InvalidPayload | None:
        """Like `settle`, but if the text does not fit the type, set nothing and return the error."""
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
        """Set the error. It need not be awaited: ignoring scheduled work is allowed."""
        if not self.done():
            if isinstance(error, StopIteration):
                # A future cannot hold it: in the coroutine that awaits it, it would be a return.
                stopped, error = error, RuntimeError("StopIteration was raised")
                error.__cause__ = stopped
            self.set_exception(error)
            self._log_traceback = False


class PatientFuture(ScheduledFuture[T]):
    """The future of work that a cancellation waits for (`cancellation="wait"`).

    Cancelling it asks the work to end, and leaves the future pending until the outcome arrives. The
    awaiting task then gets the outcome. If that task was cancelled itself meanwhile, it gets its
    `CancelledError` at that moment, and the future holds the outcome.
    """

    __slots__ = ("_message",)

    def __init__(self, *, loop: StableHashLoop, port: CancellationPort, scheduled: int) -> None:
        super().__init__(loop=loop, port=port, scheduled=scheduled)
        self._message: object = None

    def cancel(self, msg: object = None) -> bool:
        """Ask the work to end, or cancel the future if no work is under way."""
        if self.done():
            return False
        if not self._port.request_end(self.scheduled):
            return super().cancel(msg)
        self._message = msg
        return True

    def __await__(self) -> Generator[Any, None, T]:
        """Wait for the outcome, and only then raise a cancellation of the awaiting task."""
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
    """How many cancellations were raised in the task."""
    if task is None:
        return 0
    # A pending one is raised at the await that begins now.
    pending = bool(task._must_cancel)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType] # no public way to ask
    return task.cancelling() - pending
