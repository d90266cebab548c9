"""The transport: the one place where requests leave this package, and what may come back.

`Calls` is all that the provider asks of DynamoDB; `aws` carries it out through the driver, and
tests put a model or a fault-injecting wrapper in its place. Whatever goes wrong below becomes
one of the few exceptions here, so that nothing above knows the driver. The transport decides
nothing: whether to try again is `retries`' business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from perdure_dynamodb._values import Row

Parameters = Mapping[str, object]
Answer = Mapping[str, object]


class Calls(Protocol):
    """Something that carries out DynamoDB operations, given as in its API reference."""

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One request; raises the exceptions of this module only."""
        ...


class ConditionFailed(Exception):
    """A condition was not met; nothing changed. `item` is what stands there."""

    def __init__(self, item: Row | None) -> None:
        super().__init__("a condition was not met")
        self.item = item


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a transaction was cancelled, as far as one of its actions is concerned."""

    code: str
    """`None` where this action was not the cause."""
    item: Row | None


class TransactionCancelled(Exception):
    """A transaction was cancelled; nothing changed. One reason per action, in order."""

    def __init__(self, reasons: Sequence[Reason]) -> None:
        super().__init__(", ".join(reason.code for reason in reasons))
        self.reasons = tuple(reasons)

    @property
    def conditions_failed(self) -> bool:
        """Whether conditions, and nothing transient, were the cause."""
        return {reason.code for reason in self.reasons} <= {"None", "ConditionalCheckFailed"}

    @property
    def refused(self) -> bool:
        """Whether an action can never succeed as it is."""
        return any(reason.code in _HOPELESS for reason in self.reasons)


class Busy(Exception):
    """Throttled, or in conflict with another request: nothing changed, and later it may work."""


class Unanswered(Exception):
    """No answer, or an internal error: whether there was an effect is not known."""


class Refused(Exception):
    """The request can never succeed as it is. `code` is DynamoDB's error code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


_HOPELESS = frozenset({"ItemCollectionSizeLimitExceeded", "ValidationError"})
