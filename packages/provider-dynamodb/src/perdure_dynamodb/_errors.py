"""DynamoDB's errors as the exceptions of the transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from perdure_dynamodb._transport import (
    Answer,
    Busy,
    ConditionFailed,
    Reason,
    Refused,
    TransactionCancelled,
    Unanswered,
)
from perdure_dynamodb._values import Row, Wire

_BUSY = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ReplicatedWriteConflictException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
        "TransactionConflictException",
        "TransactionInProgressException",
        "LimitExceededException",
    }
)
_UNANSWERED = frozenset(
    {"InternalServerError", "InternalFailure", "ServiceUnavailable", "500", "502", "503", "504"}
)


_REQUEST_TIMEOUT = 408
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


def translate(code: str, message: str, status: int, response: Answer) -> Exception:
    """The exception for an error; `response` has what came with it."""
    if code == "ConditionalCheckFailedException":
        return ConditionFailed(_row(response.get("Item")))
    if code == "TransactionCanceledException":
        reasons = cast("Sequence[Mapping[str, object]]", response.get("CancellationReasons", ()))
        return TransactionCancelled(
            [Reason(str(each.get("Code", "None")), _row(each.get("Item"))) for each in reasons]
        )
    if code in _BUSY or status == _TOO_MANY_REQUESTS:
        return Busy(f"{code}: {message}")
    if code in _UNANSWERED or status == _REQUEST_TIMEOUT or status >= _SERVER_ERROR:
        return Unanswered(f"{code}: {message}")
    return Refused(code, message)


def _row(wire: object) -> Row | None:
    return Row.from_wire(cast("Mapping[str, Wire]", wire)) if wire else None
