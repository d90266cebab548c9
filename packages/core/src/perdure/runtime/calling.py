"""Calls the function of an activity, and makes plain data of what came of it.

Whatever the function raises is its outcome, whatever its class. Two things are not: the
runtime's own cancellation, and the interrupt of the process (Ctrl-C in the main thread).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from perdure.authoring.functions import ActivityDefinition
from perdure.diagnostics.failures import describe, ends_the_process
from perdure.errors import InvalidInput
from perdure.model.details import ApplicationFailure, ErrorDetails
from perdure.model.payload import encode
from perdure.runtime.activity_context import CURRENT, ActivityContext
from perdure.runtime.activity_task import ActivityTask
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.threads import ThreadPool


@dataclass(frozen=True, slots=True)
class FailedCall:
    """There is no result."""

    details: ErrorDetails
    error: BaseException | None = None
    """What the function raised, for the log; it goes no further."""


class ActivityCaller:
    """Calls async functions in the event loop and plain ones in threads of its own."""

    def __init__(self, options: RuntimeOptions) -> None:
        self._trace_paths = options.trace_paths
        self.threads = ThreadPool()

    def close(self) -> None:
        """Let the threads end; a function that is still in its thread goes on to its end."""
        self.threads.close()

    async def call(
        self, definition: ActivityDefinition, text: list[str], context: ActivityContext[object]
    ) -> str | FailedCall:
        """The result as JSON text, or why there is none; for an `ActivityTask` to call.

        `text` holds the input, which is taken out of it: it may be large, and is not needed any
        more once it was decoded.
        """
        reference = definition.reference
        task = cast("ActivityTask", asyncio.current_task())
        token = CURRENT.set(context)
        task.activity = context
        try:
            args, kwargs = reference.parameters.decode(text.pop(), f"activity {reference.name!r}")
            value, error = await self._value(definition, args, kwargs)
            if task.cancelled_itself:
                await asyncio.sleep(0)  # where the cancellation arrives
            if error is not None:
                return self._failure(error)
            return encode(
                value, reference.result_type, what=f"result of activity {reference.name!r}"
            )
        except asyncio.CancelledError as error:
            if task.cancelled_from_outside:
                raise
            return self._failure(error, "the activity cancelled itself")
        except GeneratorExit as error:
            if _running_task() is not task:
                raise  # nothing raised it: the loop has gone, and this coroutine is being closed
            return self._failure(error)
        except BaseException as error:
            if ends_the_process(error):
                raise
            return self._failure(error)
        finally:
            task.take_back_own()
            CURRENT.reset(token)

    async def _value(
        self,
        definition: ActivityDefinition,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> tuple[object, BaseException | None]:
        """The value, or what was raised in a thread; what a coroutine raises is raised."""
        if definition.asynchronous:
            return await cast("Awaitable[object]", definition.function(*args, **kwargs)), None
        call = functools.partial(_caught, definition.function, args, kwargs)
        run = contextvars.copy_context().run
        return await self.threads.run(functools.partial(run, call))

    def _failure(self, error: BaseException, otherwise: str = "") -> FailedCall:
        details = describe(error, paths=self._trace_paths)
        if otherwise and not details.message:
            details = replace(details, message=otherwise)
        if issubclass(type(error), InvalidInput):
            # Neither the input nor the type of the result changes with another attempt.
            details = replace(details, retryable=False)
        return FailedCall(ApplicationFailure(details), error)


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
