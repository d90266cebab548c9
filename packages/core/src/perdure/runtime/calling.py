"""Calls the function of an activity, and makes plain data of what came of it."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

from perdure.details import ApplicationFailure, ErrorDetails
from perdure.errors import InvalidInput
from perdure.payload import decode, encode
from perdure.raised import describe
from perdure.registry import ActivityDefinition
from perdure.runtime.activity_context import CURRENT, ActivityContext
from perdure.runtime.options import RuntimeOptions


class ActivityCaller:
    """Calls async functions in the event loop and plain ones in threads of its own."""

    def __init__(self, options: RuntimeOptions) -> None:
        self._trace_paths = options.trace_paths
        self._threads = ThreadPoolExecutor(
            options.activity_threads, thread_name_prefix="perdure-activity"
        )

    def close(self) -> None:
        """Begin nothing any more; a function that is still in its thread goes on to its end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def call(
        self, definition: ActivityDefinition, text: str, context: ActivityContext
    ) -> str | ErrorDetails:
        """The result as JSON text, or why there is none."""
        reference = definition.reference
        token = CURRENT.set(context)
        try:
            arguments = (
                (decode(text, reference.input_type, what=f"input of activity {reference.name!r}"),)
                if reference.takes_input
                else ()
            )
            value = await self._value(definition, arguments)
            return encode(
                value, reference.output_type, what=f"result of activity {reference.name!r}"
            )
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is None or current.cancelling() or context.cancel_requested:
                raise
            return self._failure(asyncio.CancelledError("the activity cancelled itself"))
        except InvalidInput as error:
            # Neither the input nor the type of the result changes with another attempt.
            details = describe(error, paths=self._trace_paths)
            return ApplicationFailure(replace(details, retryable=False))
        except Exception as error:  # noqa: BLE001 # whatever the user's function raises is its result
            return self._failure(error)
        finally:
            CURRENT.reset(token)

    async def _value(self, definition: ActivityDefinition, arguments: tuple[object, ...]) -> object:
        if definition.asynchronous:
            return await cast("Awaitable[object]", definition.function(*arguments))
        call = functools.partial(contextvars.copy_context().run, definition.function, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _failure(self, error: BaseException) -> ErrorDetails:
        return ApplicationFailure(describe(error, paths=self._trace_paths))
