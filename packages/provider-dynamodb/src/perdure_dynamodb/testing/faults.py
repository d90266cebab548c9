"""A transport that fails as DynamoDB does and DynamoDB Local never does.

`FaultyCalls` asks a plan, before each request, what is to go wrong with it. Plans are plain
functions, so a test says in a line what happens to which request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import TypeAlias, cast

from perdure_dynamodb._transport import (
    Answer,
    Busy,
    Calls,
    Parameters,
    Reason,
    TransactionCancelled,
    Unanswered,
)


class Fault(Enum):
    """What goes wrong with a request."""

    BUSY = auto()
    """Throttled: no effect."""
    CONFLICT = auto()
    """Another request has the item: no effect."""
    LOST_REQUEST = auto()
    """No answer, and no effect."""
    LOST_ANSWER = auto()
    """No answer, or an internal error, after the effect."""
    UNPROCESSED = auto()
    """Of a batch only the first half is done."""


class Stall(asyncio.Event):
    """A request that waits, before it is made, until the event is set."""


Plan: TypeAlias = Callable[[str, Parameters], "Fault | Stall | None"]


class FaultyCalls:
    """Passes requests on, but for what the plan says."""

    def __init__(self, inner: Calls, plan: Plan) -> None:
        self._inner = inner
        self.plan = plan
        self.requests: list[str] = []
        """The operations that were asked for, in order."""

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One request, and what goes wrong with it."""
        self.requests.append(operation)
        fault = self.plan(operation, parameters)
        match fault:
            case Stall():
                await fault.wait()
            case Fault.BUSY:
                raise Busy("ThrottlingException: injected")
            case Fault.CONFLICT if operation == "TransactWriteItems":
                actions = cast("Sequence[object]", parameters["TransactItems"])
                raise TransactionCancelled(
                    [Reason("TransactionConflict", None)]
                    + [Reason("None", None)] * (len(actions) - 1)
                )
            case Fault.CONFLICT:
                raise Busy("TransactionConflictException: injected")
            case Fault.LOST_REQUEST:
                raise Unanswered("InternalServerError: injected")
            case Fault.UNPROCESSED:
                return await self._first_half(operation, parameters)
            case Fault.LOST_ANSWER | None:
                pass
        answer = await self._inner.call(operation, parameters)
        if fault is Fault.LOST_ANSWER:
            raise Unanswered("InternalServerError: injected, after the effect")
        return answer

    async def _first_half(self, operation: str, parameters: Parameters) -> Answer:
        [(table, asked)] = cast("Mapping[str, object]", parameters["RequestItems"]).items()
        if operation == "BatchWriteItem":
            writes = cast("Sequence[object]", asked)
            half = (len(writes) + 1) // 2
            done, left = {table: writes[:half]}, {table: writes[half:]}
            answer = await self._inner.call(operation, {"RequestItems": done})
            return {**answer, "UnprocessedItems": left if writes[half:] else {}}
        request = cast("Mapping[str, object]", asked)
        keys = cast("Sequence[object]", request["Keys"])
        half = (len(keys) + 1) // 2
        done = {table: {**request, "Keys": keys[:half]}}
        left = {table: {**request, "Keys": keys[half:]}}
        answer = await self._inner.call(operation, {"RequestItems": done})
        return {**answer, "UnprocessedKeys": left if keys[half:] else {}}
