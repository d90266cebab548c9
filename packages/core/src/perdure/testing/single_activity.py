"""One activity alone in a test, called as the runtime calls it, with its context."""

from __future__ import annotations

import asyncio
import inspect
import threading
import uuid
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn, TypeVar, cast, overload

from perdure.authoring.functions import (
    ActivityDefinition,
    ActivityReference,
    activity_reference,
    is_async,
    read_signature,
    where_defined,
)
from perdure.client import Client
from perdure.contract.transactions import OpenTransaction
from perdure.errors import PerdureError
from perdure.model.durations import to_duration
from perdure.model.payload import decode
from perdure.runtime.activity_call import ActivityCaller, ActivityTask, FailedCall
from perdure.runtime.activity_context import ActivityContext, Cancellation
from perdure.runtime.options import RuntimeOptions

R = TypeVar("R")


class NoClient:
    """Stands for the client of an activity that has none; says why."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getattr__(self, name: str) -> NoReturn:
        raise PerdureError(f"the activity uses its client ({name}); {self._why}")


@overload
def run_activity(
    activity: Callable[..., Coroutine[Any, Any, R]],
    input: object = None,
    *,
    attempt: int = 1,
    delivery: int = 1,
    instance: str = "instance-1",
    idempotency_key: str | None = None,
    resources: object = None,
    client: Client | None = None,
    cancel_after: timedelta | float | None = None,
    connection: object = None,
) -> Coroutine[Any, Any, R]: ...
@overload
def run_activity(
    activity: Callable[..., R],
    input: object = None,
    *,
    attempt: int = 1,
    delivery: int = 1,
    instance: str = "instance-1",
    idempotency_key: str | None = None,
    resources: object = None,
    client: Client | None = None,
    cancel_after: timedelta | float | None = None,
    connection: object = None,
) -> Coroutine[Any, Any, R]: ...
def run_activity(
    activity: Callable[..., object],
    input: object = None,
    *,
    attempt: int = 1,
    delivery: int = 1,
    instance: str = "instance-1",
    idempotency_key: str | None = None,
    resources: object = None,
    client: Client | None = None,
    cancel_after: timedelta | float | None = None,
    connection: object = None,
) -> Coroutine[Any, Any, Any]:
    """Call an activity once, as a runtime does; await its result, or what it raises.

    `input` is the value of its parameter, or a dictionary by the names of several. Input and result
    make the way through JSON text. The activity need not be registered. Its context has the
    arguments given here; `idempotency_key` is a new one by default, and `client` is needed only if
    the activity uses it. `connection` is that of a transactional activity; the caller of
    `run_activity` commits it or rolls it back.

    After `cancel_after`, a `timedelta` or seconds in real time, the activity is asked to end, and an
    async one gets `CancelledError`; 0 does so as soon as it waits for something.

    Raises `InvalidSignature` for what cannot be an activity, and `InvalidPayload` if the input does
    not fit.
    """
    limit = None if cancel_after is None else to_duration(cancel_after, "cancel_after")
    frame = inspect.currentframe()
    definition = _definition(activity, cast("FrameType", frame and frame.f_back))
    context: ActivityContext[object] = ActivityContext(
        instance=instance,
        incarnation=uuid.uuid4().hex,
        execution=1,
        activity_id="1",
        name=definition.name,
        attempt=attempt,
        delivery=delivery,
        idempotency_key=idempotency_key or f"{uuid.uuid4().hex}:1:1",
        client=cast("Client", NoClient("pass client= to run_activity"))
        if client is None
        else client,
        resources=resources,
        cancellation=Cancellation(threading.Lock()),
        transaction=None if connection is None else OpenTransaction(connection),
    )
    text = definition.reference.parameters.encode_payload(input, f"activity {definition.name!r}")
    return _run(definition, text, context, limit)


async def _run(
    definition: ActivityDefinition,
    text: str,
    context: ActivityContext[object],
    cancel_after: timedelta | None,
) -> object:
    caller = ActivityCaller(RuntimeOptions())
    try:
        outcome = await call_activity(caller, definition, text, context, cancel_after)
    finally:
        caller.close()
    if not isinstance(outcome, FailedCall):
        return decode(outcome, definition.reference.result_type, what="the result")
    raise outcome.error or PerdureError(outcome.details.display_message())


async def call_activity(
    caller: ActivityCaller,
    definition: ActivityDefinition,
    text: str,
    context: ActivityContext[object],
    cancel_after: timedelta | None = None,
) -> str | FailedCall:
    """Call an activity in a task of its own, as a runtime does."""
    outcomes: list[str | FailedCall] = []

    async def call() -> None:
        outcomes.append(await caller.call(definition, [text], context))

    task = ActivityTask(call(), name=f"activity {definition.name!r}")
    try:
        if cancel_after is not None:
            await asyncio.wait([task], timeout=cancel_after.total_seconds())
            context.cancellation.request()
            if definition.asynchronous:
                task.cancel()
        await task
    finally:
        task.cancel()
    return outcomes[0]


def _definition(activity: Callable[..., object], frame: FrameType) -> ActivityDefinition:
    reference = activity_reference(activity)
    if reference is None:
        name = getattr(activity, "__name__", type(activity).__name__)
        signature = read_signature(activity, name, takes_context=False, frame=frame)
        reference = ActivityReference(
            name=name, parameters=signature.parameters, result_type=signature.result_type
        )
    return ActivityDefinition(
        reference=reference,
        function=activity,
        asynchronous=is_async(activity),
        where=where_defined(activity),
    )
