"""Durations as callers pass them: a `timedelta`, or seconds."""

from __future__ import annotations

from datetime import timedelta

from perdure.errors import InvalidDuration

LONGEST_DURATION = timedelta(days=366 * 100)


def to_duration(value: timedelta | float, what: str) -> timedelta:
    """The value as a `timedelta`; raises `InvalidDuration` where it is negative or not finite."""
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
        raise InvalidDuration(
            f"{what} {value!r} is not a duration; pass a timedelta or a number of seconds"
        )
    elif not abs(value) <= LONGEST_DURATION.total_seconds():  # so that NaN is out of range too
        raise InvalidDuration(f"{what} {value!r} is out of range; pass at most 100 years")
    else:
        duration = timedelta(seconds=value)
    if duration < timedelta(0):
        raise InvalidDuration(f"{what} {value!r} is negative; pass zero or more")
    if duration > LONGEST_DURATION:
        raise InvalidDuration(f"{what} {value!r} is out of range; pass at most 100 years")
    return duration
