"""Durations as callers pass them: a `timedelta`, or seconds."""

from __future__ import annotations

from datetime import timedelta

from perdure.errors import InvalidDuration
from perdure.model.shown import shown

LONGEST_DURATION = timedelta(days=366 * 100)

_NOTHING = timedelta(0)


def to_duration(
    value: timedelta | float,
    what: str,
    *,
    positive: bool = False,
    most: timedelta = LONGEST_DURATION,
) -> timedelta:
    """The value as a `timedelta`, from zero (more than zero where `positive`) to `most`.

    Raises `InvalidDuration`, whose message has the value and the range.
    """
    if isinstance(value, timedelta):
        duration = value
    elif isinstance(value, bool) or not isinstance(value, int | float):  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
        raise InvalidDuration(
            f"{what} {shown(value)} is not a duration; pass a timedelta or a number of seconds"
        )
    elif not abs(value) <= LONGEST_DURATION.total_seconds():  # so that NaN is out of range too
        raise _out_of_range(value, what, positive, most)
    else:
        duration = timedelta(seconds=value)
    if not _NOTHING <= duration <= most or (positive and not duration):
        raise _out_of_range(value, what, positive, most)
    return duration


def _out_of_range(
    value: timedelta | float, what: str, positive: bool, most: timedelta
) -> InvalidDuration:
    given = shown(value)
    if isinstance(value, timedelta):  # whose text counts a negative one from the day before
        given = str(value) if value >= _NOTHING else f"{value.total_seconds():g} s"
    least = "more than zero" if positive else "zero or more"
    longest = "100 years" if most == LONGEST_DURATION else str(most)
    return InvalidDuration(f"{what} {given} is out of range; pass {least} and at most {longest}")
