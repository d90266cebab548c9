"""What a provider object asks of DynamoDB, counted where its requests leave it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import cast

from perdure_dynamodb._transport import Answer

OF_LOOKS = "read units of looks"
"""Of all reads of the index, which looks for work and listings make."""
REQUESTS = "requests"
REPEATS = "repeats"
THROTTLED = "throttled or in conflict"
UNANSWERED = "without an answer"
LEFT = "left of a batch"


class Usage:
    """Counts, each of which only grows; they are there from the beginning, with 0."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._read_units = 0.0

    def count_request(self, operation: str) -> None:
        """A request was sent."""
        self._counts[REQUESTS] += 1
        self._counts[f"{REQUESTS}: {operation}"] += 1

    def count_repeat(self, reason: str) -> None:
        """A request is sent again, since the one before was not enough."""
        self._counts[REPEATS] += 1
        self._counts[f"{REPEATS}: {reason}"] += 1

    def count_look(self, answer: Answer) -> None:
        """The index was read."""
        consumed = cast("Mapping[str, float]", answer.get("ConsumedCapacity") or {})
        self._read_units += float(consumed.get("CapacityUnits", 0.0))

    def read(self) -> Mapping[str, float]:
        """The counts by name."""
        counted = {name: float(count) for name, count in self._counts.items()}
        return {REQUESTS: 0.0, REPEATS: 0.0, OF_LOOKS: self._read_units, **counted}
