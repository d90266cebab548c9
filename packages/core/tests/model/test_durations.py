"""Durations come as timedeltas or as seconds, and what makes no sense is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from perdure.errors import InvalidDuration
from perdure.model.durations import LONGEST_DURATION, to_duration


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (timedelta(minutes=1), timedelta(minutes=1)),
        (90, timedelta(seconds=90)),
        (0.25, timedelta(milliseconds=250)),
        (0, timedelta(0)),
        (LONGEST_DURATION, LONGEST_DURATION),
    ],
)
def test_a_timedelta_or_seconds_become_a_timedelta(
    value: timedelta | float, expected: timedelta
) -> None:
    assert to_duration(value, "timeout") == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-1, "timeout -1 is out of range; pass zero or more"),
        (timedelta(microseconds=-1), "timeout -1e-06 s is out of range"),
        (float("nan"), "timeout nan is out of range"),
        (float("inf"), "is out of range"),
        (-float("inf"), "is out of range"),
        (1e300, "is out of range; pass zero or more and at most 100 years"),
        (10**400, "is out of range"),
        (timedelta.max, "is out of range"),
        (True, "timeout True is not a duration; pass a timedelta or a number of seconds"),
        ("5", "timeout '5' is not a duration"),
        (None, "timeout None is not a duration"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_name(value: object, words: str) -> None:
    with pytest.raises(InvalidDuration, match=words):
        to_duration(value, "timeout")  # type: ignore[arg-type]
