"""One call of an activity's function: in the event loop or a thread, within its time limit.

Whatever the function raises is its outcome, whatever its class. Two things are not: the
runtime's own cancellation, and the interrupt of the process (Ctrl-C in the main thread).

- `ActivityTask` tells a cancellation from outside, which has no outcome and lets the activity run
  again elsewhere, from one that the activity's own code asked for, which would come again at each
  delivery.
- `AttemptLimit` is the time limit of one attempt, counted from the call of the function. The
  runtime that runs the attempt keeps the limit and reports the timeout when the function has
  ended. So waiting in a queue does not count, and the next attempt, which follows the failure,
  never begins while an async function of the last one still runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, cast

from perdure.authoring.functions import ActivityDefinition
from perdure.clock import Clock, Instant, to_microseconds
from perdure.contract.hooks import ActivityWrapper
from perdure.diagnostics.failures import describe, ends_the_process
from perdure.errors import InvalidInput
from perdure.model.details import ApplicationFailure, ErrorDetails
from perdure.model.payload import encode
from perdure.model.record import record
from perdure.observe import ActivityCall
from perdure.runtime.activity_context import CURRENT, ActivityContext
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.threads import ThreadPool


@record(kw_only=False)
class FailedCall:
    """There is no result."""

    details: ErrorDetails
    error: BaseException | None = None
    """What the function raised, for the log; it goes no further."""


class ActivityTask(asyncio.Task[None]):
    """Runs one delivery of an activity."""

    activity: ActivityContext[object] | None = None
    """Of the function while it is called; what its code starts has the same context variable."""
    _own_cancels = 0

    def cancel(self, msg: Any = None) -> bool:
        """Cancel, and note whether the activity's own code asks for it."""
        if self.activity is not None and CURRENT.get(None) is self.activity:
            self._own_cancels += 1
        return super().cancel(msg)

    def uncancel(self) -> int:
        """Take a cancellation back, as timeouts and task groups do with their own."""
        self._own_cancels = max(0, self._own_cancels - 1)
        return super().uncancel()

    @property
    def cancelled_itself(self) -> bool:
        """Whether a cancellation that the activity's own code asked for stands."""
        return self._own_cancels > 0

    @property
    def cancelled_from_outside(self) -> bool:
        """Whether anything else asked for a cancellation."""
        return self.cancelling() > self._own_cancels

    def take_back_own(self) -> None:
        """The activity's function has ended: what its code asked for ends with it."""
        while self._own_cancels and self.cancelling():
            self.uncancel()
        self.activity = None


class ActivityCaller:
    """Calls async functions in the event loop and plain ones in threads of its own."""

    def __init__(self, options: RuntimeOptions, wrappers: Sequence[ActivityWrapper] = ()) -> None:
        self._trace_paths = options.trace_paths
        self._wrappers = wrappers
        self.threads = ThreadPool()

    def close(self) -> None:
        """Let the threads end; a function that is still in its thread goes on to its end."""
        self.threads.close()

    async def call(
        self, definition: ActivityDefinition, text: list[str], context: ActivityContext[object]
    ) -> str | FailedCall:
        """The result as JSON text, or why there is none; for an `ActivityTask` to call.

        `text` holds the input, which is taken out of it: it may be large, and is not needed any
        more once it is decoded.
        """
        reference = definition.reference
        task = cast("ActivityTask", asyncio.current_task())
        token = CURRENT.set(context)
        task.activity = context
        try:
            args, kwargs = reference.parameters.decode(text.pop(), f"activity {reference.name!r}")
            raised: BaseException | None = None
            if self._wrappers:
                value = await self._wrapped(definition, args, kwargs, context)
            elif definition.asynchronous:
                value = await cast("Awaitable[object]", definition.function(*args, **kwargs))
            else:
                value, raised = await self._in_thread(definition, args, kwargs)
            if task.cancelled_itself:
                await asyncio.sleep(0)  # where the cancellation arrives
            if raised is not None:
                return self.failure(raised)
            return encode(
                value, reference.result_type, what=f"result of activity {reference.name!r}"
            )
        except asyncio.CancelledError as error:
            if task.cancelled_from_outside:
                raise
            return self.failure(error, "the activity cancelled itself")
        except GeneratorExit as error:
            if _running_task() is not task:
                raise  # nothing raised it: the loop has gone, and this coroutine is being closed
            return self.failure(error)
        except BaseException as error:
            if ends_the_process(error):
                raise
            return self.failure(error)
        finally:
            task.take_back_own()
            CURRENT.reset(token)

    async def _wrapped(
        self,
        definition: ActivityDefinition,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        context: ActivityContext[object],
    ) -> object:
        """The value as the wrappers return it, the first one outermost."""

        async def call_function() -> object:
            if definition.asynchronous:
                return await cast("Awaitable[object]", definition.function(*args, **kwargs))
            value, error = await self._in_thread(definition, args, kwargs)
            if error is not None:
                raise error
            return value

        call = ActivityCall(
            instance=context.instance,
            incarnation=context.incarnation,
            execution=context.execution,
            activity=context.activity_id,
            name=context.name,
            attempt=context.attempt,
            delivery=context.delivery,
            headers=context.headers,
        )
        proceed: Callable[[], Awaitable[object]] = call_function
        for wrapper in reversed(self._wrappers):
            proceed = functools.partial(wrapper, call, proceed)
        return await proceed()

    async def _in_thread(
        self,
        definition: ActivityDefinition,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> tuple[object, BaseException | None]:
        """The value of a plain function, or what it raised."""
        call = functools.partial(_caught, definition.function, args, kwargs)
        run = contextvars.copy_context().run
        return await self.threads.run(functools.partial(run, call))

    def failure(self, error: BaseException, otherwise: str = "") -> FailedCall:
        """The failure that an exception is."""
        details = describe(error, paths=self._trace_paths)
        if otherwise and not details.message:
            details = replace(details, message=otherwise)
        if issubclass(type(error), InvalidInput):
            # Neither the input nor the type of the result changes with another attempt.
            details = replace(details, retryable=False)
        return FailedCall(ApplicationFailure(details), error)


class AttemptLimit:
    """Cancels the task that is in its block when the time is over; `is_over` says whether it did.

    The `CancelledError` ends at the block's end, as that of `asyncio.timeout` does, unless the
    task was cancelled for another reason too.
    """

    def __init__(self, clock: Clock, limit: timedelta, *, request_end: Callable[[], None]) -> None:
        self._clock = clock
        self._limit = limit
        self._request_end = request_end
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.Future[None] | None = None
        self.is_over = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        ends = self._clock.now() + to_microseconds(self._limit)
        self._timer = asyncio.ensure_future(self._sleep_until(ends))
        self._timer.add_done_callback(self._end)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        if not self.is_over or task is None:
            return False
        return not task.uncancel() and kind is asyncio.CancelledError

    async def _sleep_until(self, ends: Instant) -> None:
        # The clock may be moved before this begins to run.
        await self._clock.sleep(timedelta(microseconds=ends - self._clock.now()))

    def _end(self, timer: asyncio.Future[None]) -> None:
        if self._task is not None and not timer.cancelled():
            self.is_over = True
            self._request_end()
            self._task.cancel()


def _caught(
    function: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[object, BaseException | None]:
    """The value, or what was raised: the future of a thread refuses to carry `StopIteration`."""
    try:
        return function(*args, **kwargs), None
    except BaseException as error:  # noqa: BLE001 # no thread is interrupted: the function raised it
        return None, error


def _running_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no loop runs here
        return None
