"""Futures and tasks of an orchestration: their hashes are the same in every process.

asyncio keeps them in sets, and the order of a set decides what is cancelled first. The future of
scheduled work tells the engine when it is cancelled.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from perdure.errors import InvalidPayload
from perdure.payload import decode
from perdure.raised import ends_the_process

if TYPE_CHECKING:
    from perdure.replay.loop import OrchestrationLoop

T = TypeVar("T")


class OrchestrationFuture(asyncio.Future[T]):
    """A future whose hash is the same in every process."""

    __slots__ = ("_hash",)

    def __init__(self, *, loop: OrchestrationLoop) -> None:
        self._hash = loop.next_hash()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash


class OrchestrationTask(asyncio.Task[T]):
    """A task whose hash is the same in every process."""

    __slots__ = ("_hash", "attempts_of", "heeded")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        loop: OrchestrationLoop,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        self._hash = loop.next_hash()
        self.heeded = False
        """Whether something waited for it once and does not any more; see `unawaited`."""
        self.attempts_of = ""
        """The activity whose attempts it makes, where that is its purpose."""
        super().__init__(coroutine, loop=loop, name=name or f"task-{loop.created}", context=context)

    def __hash__(self) -> int:
        return self._hash

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        """Take a callback back, and note that there was one."""
        self.heeded = True
        return super().remove_done_callback(callback)


class CancellationPort(Protocol):
    """Who is told that scheduled work is not wanted any more."""

    def work_cancelled(self, scheduled: int) -> None:
        """The future of this schedule event was cancelled."""
        ...


class ScheduledFuture(OrchestrationFuture[T]):
    """Of work under the number of its schedule event.

    The user holds it too and may have settled or cancelled it: then what comes later is ignored.
    """

    __slots__ = ("_port", "heeded", "scheduled")

    def __init__(self, *, loop: OrchestrationLoop, port: CancellationPort, scheduled: int) -> None:
        super().__init__(loop=loop)
        self._port = port
        self.scheduled = scheduled
        self.heeded = False
        """Whether something waited for it once and does not any more; see `unawaited`."""

    def remove_done_callback(self, callback: Callable[[Any], object], /) -> int:
        """Take a callback back, and note that there was one."""
        self.heeded = True
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
