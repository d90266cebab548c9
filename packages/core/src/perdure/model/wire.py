"""The wire formats of messages and activities: the bytes that core stores through the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from typing import Final, cast

from pydantic_core import to_json

from perdure.clock import Instant, to_microseconds
from perdure.model.details import ErrorDetails, details_from_plain, details_to_plain
from perdure.model.envelope import plain_json
from perdure.model.payload import NULL
from perdure.model.record import record

_COPY: Final = "copy"
_COPY_FIRST: Final = b'{"copy":'


@record
class HistoryCopy:
    """The history that a rewound or forked execution begins with: events 2 to `to_event` of this one."""

    instance: str
    incarnation: str
    execution: int
    to_event: int


@record
class StartData:
    """The data of a START message."""

    input: str = NULL
    """JSON text. A copy has the input of the copied history, and stores none."""
    seen: tuple[str, ...] = ()
    copy: HistoryCopy | None = None
    """The history to begin with; None: an empty one."""
    reason: str = ""
    """Why the copy was asked for."""
    requested_at: Instant | None = None
    """When the copy was asked for."""
    start_at: Instant | None = None
    """The orchestration is not called before; None: at once."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@record
class EventData:
    """The data of an EVENT message."""

    name: str
    data: str


@record
class ResultData:
    """The data of an ACTIVITY, CHILD or TIMER message: how the scheduled work ended.

    `result` or `details` is set; neither for a timer, and for a child that was refused because
    its id was in use.
    """

    scheduled: int
    result: str | None = None
    details: ErrorDetails | None = None
    execution: int | None = None
    """Of a child's result: the execution of the parent that scheduled it. None where the message
    itself names it, as all did in 0.1.0."""
    started: bool = False
    """Whether the work, an activity, has only begun."""
    delivery: int | None = None
    """Which delivery of an activity ended; None: the first."""


@record
class CancelData:
    """The data of a CANCEL message."""

    reason: str


@record
class ActivityData:
    """The data of an activity in the queue."""

    input: str
    event: int
    """The number of the schedule event."""
    attempt: int
    """The number of the attempt under the retry policy, from 1."""
    first: int
    """The number of the schedule event of the first attempt; all attempts share it."""
    timeout: timedelta | None = None
    """How long the function of this attempt may run."""
    deadline: Instant | None = None
    """When the time of all attempts is over."""
    max_attempts: int | None = 1
    """The limit of the retry policy; None: no limit."""
    non_retryable: tuple[str, ...] = ()
    """The names of exceptions after which its retry policy does not try again."""
    conditional: bool = False
    """Whether the retry policy has a `retry_if`, which may refuse another attempt."""
    awaited: bool = False
    """Whether a cancelled orchestration waits for the outcome: the activity is then asked to end."""
    origin: int | None = None
    """The execution that first scheduled it, from which its idempotency key derives; None: the one
    that the activity belongs to."""
    start_by: Instant | None = None
    """The function is not called after this instant; None: whenever its turn comes."""
    headers: Mapping[str, str] | None = None
    """What travels with the instance; None: nothing."""


def encode_start(data: StartData) -> bytes:
    """Encode as JSON."""
    plain: dict[str, object] = {"input": data.input, "seen": data.seen}
    if data.copy is not None:
        # Without an input, runtimes that know no copies cannot decode it and leave it to others.
        plain = {_COPY: data.copy, "seen": data.seen, "reason": data.reason}
    if data.requested_at is not None:
        plain["requested_at"] = data.requested_at
    if data.start_at is not None:
        plain["start_at"] = data.start_at
    if data.headers:
        plain["headers"] = data.headers
    return to_json(plain)


def decode_start(data: bytes) -> StartData:
    """Decode what the encoder wrote; raises ValueError for other data."""
    plain = _mapping(data)
    copy = plain.get(_COPY)
    return StartData(
        input=NULL if copy is not None else _text(plain, "input"),
        seen=tuple(cast("list[str]", plain.get("seen", []))),
        copy=None if copy is None else _copy(cast("Mapping[str, object]", copy)),
        reason=cast("str", plain.get("reason", "")),
        requested_at=_optional_number(plain, "requested_at"),
        start_at=_optional_number(plain, "start_at"),
        headers=cast("Mapping[str, str]", plain.get("headers", {})),
    )


def starts_a_copy(data: bytes) -> bool:
    """Whether encoded start data names a history to begin with; cheap, however long the input is."""
    return data.startswith(_COPY_FIRST)


def _copy(plain: Mapping[str, object]) -> HistoryCopy:
    return HistoryCopy(
        instance=_text(plain, "instance"),
        incarnation=_text(plain, "incarnation"),
        execution=_number(plain, "execution"),
        to_event=_number(plain, "to_event"),
    )


def encode_raised(data: EventData) -> bytes:
    """Encode as JSON."""
    return to_json({"name": data.name, "data": data.data})


def decode_raised(data: bytes) -> EventData:
    """Decode what the encoder wrote; raises ValueError for other data."""
    plain = _mapping(data)
    return EventData(name=_text(plain, "name"), data=_text(plain, "data"))


def encode_result(data: ResultData) -> bytes:
    """Encode as JSON."""
    plain: dict[str, object] = {"scheduled": data.scheduled}
    if data.result is not None:
        plain["result"] = data.result
    if data.details is not None:
        plain["details"] = details_to_plain(data.details)
    if data.execution is not None:
        plain["execution"] = data.execution
    if data.started:
        plain["started"] = True
    if data.delivery is not None:
        plain["delivery"] = data.delivery
    return to_json(plain)


def decode_result(data: bytes) -> ResultData:
    """Decode what the encoder wrote; raises ValueError for other data."""
    plain = _mapping(data)
    details = plain.get("details")
    return ResultData(
        scheduled=_number(plain, "scheduled"),
        result=cast("str | None", plain.get("result")),
        details=None
        if details is None
        else details_from_plain(cast("Mapping[str, object]", details)),
        execution=_optional_number(plain, "execution"),
        started=bool(plain.get("started", False)),
        delivery=_optional_number(plain, "delivery"),
    )


def encode_cancel(data: CancelData) -> bytes:
    """Encode as JSON."""
    return to_json({"reason": data.reason})


def decode_cancel(data: bytes) -> CancelData:
    """Decode what the encoder wrote; raises ValueError for other data."""
    return CancelData(reason=_text(_mapping(data), "reason"))


def encode_activity(data: ActivityData) -> bytes:
    """Encode as JSON."""
    plain: dict[str, object] = {
        "input": data.input,
        "event": data.event,
        "attempt": data.attempt,
        "first": data.first,
    }
    if data.timeout is not None:
        plain["timeout"] = to_microseconds(data.timeout)
    if data.deadline is not None:
        plain["deadline"] = data.deadline
    if data.max_attempts != 1:
        plain["max_attempts"] = data.max_attempts
    if data.non_retryable:
        plain["non_retryable"] = data.non_retryable
    if data.conditional:
        plain["conditional"] = True
    if data.awaited:
        plain["awaited"] = True
    if data.origin is not None:
        plain["origin"] = data.origin
    if data.start_by is not None:
        plain["start_by"] = data.start_by
    if data.headers is not None:
        plain["headers"] = data.headers
    return to_json(plain)


def decode_activity(data: bytes) -> ActivityData:
    """Decode what the encoder wrote; raises ValueError for other data."""
    plain = _mapping(data)
    return ActivityData(
        input=_text(plain, "input"),
        event=_number(plain, "event"),
        attempt=_number(plain, "attempt"),
        first=_number(plain, "first"),
        timeout=timedelta(microseconds=_number(plain, "timeout")) if "timeout" in plain else None,
        deadline=_optional_number(plain, "deadline"),
        max_attempts=cast("int | None", plain.get("max_attempts", 1)),
        non_retryable=tuple(cast("list[str]", plain.get("non_retryable", []))),
        conditional=bool(plain.get("conditional", False)),
        awaited=bool(plain.get("awaited", False)),
        origin=_optional_number(plain, "origin"),
        start_by=_optional_number(plain, "start_by"),
        headers=cast("Mapping[str, str] | None", plain.get("headers")),
    )


def encode_details(details: ErrorDetails) -> bytes:
    """Error details as the output of a failed instance."""
    return to_json(details_to_plain(details))


def decode_details(data: bytes) -> ErrorDetails:
    """Decode what the encoder wrote; raises ValueError for other data."""
    try:
        return details_from_plain(_mapping(data))
    except (KeyError, TypeError) as error:
        raise ValueError(f"error details cannot be decoded: {error!r}") from error


def _mapping(data: bytes) -> Mapping[str, object]:
    plain = plain_json(data)
    if not isinstance(plain, dict):
        raise ValueError(f"expected a JSON object, found {data[:40]!r}")
    return cast("Mapping[str, object]", plain)


def _text(plain: Mapping[str, object], key: str) -> str:
    value = plain.get(key)
    if not isinstance(value, str):
        raise ValueError(f"expected a text under {key!r}, found {value!r}")
    return value


def _number(plain: Mapping[str, object], key: str) -> int:
    value = plain.get(key)
    if not isinstance(value, int):
        raise ValueError(f"expected a number under {key!r}, found {value!r}")
    return value


def _optional_number(plain: Mapping[str, object], key: str) -> int | None:
    return _number(plain, key) if key in plain else None
