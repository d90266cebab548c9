"""What core writes into the contract's opaque bytes: read back alike, those of 0.1.0 included."""

from __future__ import annotations

import pytest
from perdure.diagnostics.failures import describe
from perdure.history import ActivityFailed, decode_event, encode_event
from perdure.model.details import ApplicationFailure, Raised
from perdure.model.wire import (
    ActivityData,
    HistoryCopy,
    ResultData,
    StartData,
    decode_activity,
    decode_result,
    decode_start,
    encode_activity,
    encode_result,
    encode_start,
    starts_a_copy,
)

# Written by 0.1.0.
ACTIVITY = b'{"input":"7","event":3,"attempt":2,"first":1}'
RESULT = (
    b'{"scheduled":3,"details":{"category":"application","kind":"raised","type_name":"ValueError",'
    b'"message":"no","trace":["shop:7 pay"],"causes":[],"retryable":true}}'
)
START = b'{"input":"7","seen":["event:a"]}'
FAILED = (
    b'{"kind":"ActivityFailed","at":1900000000000000,"scheduled":3,"details":{"category":'
    b'"application","kind":"raised","type_name":"ValueError","message":"no","trace":["shop:7 pay"],'
    b'"causes":[],"retryable":true}}'
)
DETAILS = ApplicationFailure(
    Raised(type_name="ValueError", message="no", trace=("shop:7 pay",), causes=())
)


def test_an_activity_of_an_earlier_version_is_read() -> None:
    assert decode_activity(ACTIVITY) == ActivityData(input="7", event=3, attempt=2, first=1)


def test_a_failure_of_an_earlier_version_is_read() -> None:
    assert decode_result(RESULT) == ResultData(scheduled=3, details=DETAILS)
    assert decode_event(4, FAILED) == ActivityFailed(
        event_id=4, at=1_900_000_000_000_000, scheduled=3, details=DETAILS
    )


@pytest.mark.parametrize(
    "data",
    [
        ActivityData(input="7", event=3, attempt=1, first=3),
        ActivityData(
            input="7",
            event=3,
            attempt=2,
            first=1,
            max_attempts=None,
            non_retryable=("OSError", "shop.CardRefused"),
            conditional=True,
        ),
    ],
)
def test_an_activity_comes_back_as_it_was(data: ActivityData) -> None:
    assert decode_activity(encode_activity(data)) == data


def test_an_activity_without_a_policy_is_written_as_before() -> None:
    assert encode_activity(ActivityData(input="7", event=3, attempt=2, first=1)) == ACTIVITY


def test_a_result_names_its_delivery_unless_it_is_the_first() -> None:
    first = ResultData(scheduled=3, result="1")
    later = ResultData(scheduled=3, result="1", delivery=2)

    assert encode_result(first) == b'{"scheduled":3,"result":"1"}'
    assert decode_result(encode_result(later)) == later


def test_a_failure_with_causes_comes_back_in_a_result_and_in_an_event() -> None:
    error = ExceptionGroup("both", [ValueError("a"), KeyError("b")])
    error.__cause__ = OSError("gone")
    error.add_note("seen at noon")
    details = ApplicationFailure(describe(error))
    result = ResultData(scheduled=3, details=details)
    event = ActivityFailed(event_id=4, at=1, scheduled=3, details=details)

    assert decode_result(encode_result(result)) == result
    assert decode_event(4, encode_event(event)) == event


def test_a_plain_start_is_written_and_read_as_before() -> None:
    start = StartData(input="7", seen=("event:a",))

    assert encode_start(start) == START
    assert decode_start(START) == start


@pytest.mark.parametrize(
    "start",
    [
        StartData(input="7", start_at=1, headers={"tenant": "acme"}),
        StartData(
            copy=HistoryCopy(instance="a", incarnation="b", execution=2, to_event=3),
            reason="wrong address",
            requested_at=5,
            headers={"tenant": "acme"},
        ),
    ],
)
def test_a_start_comes_back_as_it_was(start: StartData) -> None:
    encoded = encode_start(start)

    assert decode_start(encoded) == start
    assert starts_a_copy(encoded) == (start.copy is not None)


def test_the_start_of_a_copy_has_no_input_for_a_runtime_that_knows_no_copies() -> None:
    copy = HistoryCopy(instance="a", incarnation="b", execution=2, to_event=3)

    assert b'"input"' not in encode_start(StartData(input="7", copy=copy))
