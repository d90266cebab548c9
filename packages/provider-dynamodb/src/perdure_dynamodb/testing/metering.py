"""A seam that counts what is sent, and what DynamoDB says it cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from perdure_dynamodb._seam import Answer, Calls, Parameters

_READS = frozenset({"GetItem", "BatchGetItem", "Query"})


@dataclass(slots=True)
class Bill:
    """What was sent since the last look."""

    requests: Counter[str] = field(default_factory=Counter[str])
    write_units: float = 0.0
    read_units: float = 0.0

    @property
    def total(self) -> int:
        """How many requests."""
        return self.requests.total()


class MeteringCalls:
    """Passes requests on, and asks what each consumed."""

    def __init__(self, inner: Calls) -> None:
        self._inner = inner
        self._bill = Bill()

    def take(self) -> Bill:
        """The bill since the last look; a new one begins."""
        bill, self._bill = self._bill, Bill()
        return bill

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One request, counted."""
        self._bill.requests[operation] += 1
        answer = await self._inner.call(
            operation, {**parameters, "ReturnConsumedCapacity": "TOTAL"}
        )
        units = _units(answer.get("ConsumedCapacity"))
        if operation in _READS:
            self._bill.read_units += units
        else:
            self._bill.write_units += units
        return answer


def _units(consumed: object) -> float:
    if consumed is None:
        return 0.0
    several = consumed if isinstance(consumed, list) else [consumed]
    return sum(
        float(cast("float", each.get("CapacityUnits", 0.0)))
        for each in cast("Sequence[Mapping[str, object]]", several)
    )
