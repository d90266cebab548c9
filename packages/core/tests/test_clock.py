"""Clocks: exact instants, and a manual clock that wakes sleepers in order."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from perdure.clock import ManualClock, SystemClock, to_datetime, to_microseconds
from perdure.errors import InvalidDuration
from perdure.model.durations import LONGEST_DURATION, to_duration

SECOND = timedelta(seconds=1)


async def turn(times=5):
    for _ in range(times):
        await asyncio.sleep(0)


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_and_datetimes_are_the_same_to_the_microsecond(moment):
    instant = to_microseconds(moment - datetime(1970, 1, 1, tzinfo=UTC))

    assert to_datetime(instant) == moment
    assert to_datetime(instant).utcoffset() == timedelta(0)


@given(st.timedeltas())
def test_a_duration_in_microseconds_loses_nothing(duration):
    assert timedelta(microseconds=to_microseconds(duration)) == duration


async def test_the_system_clock_tells_the_time_and_sleeps():
    clock = SystemClock()
    begun = clock.now()
    await clock.sleep(timedelta(milliseconds=2))
    await clock.sleep(timedelta(seconds=-5))

    assert 2000 <= clock.now() - begun < 2_000_000
    assert abs(to_datetime(begun) - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_manual_clock_starts_where_it_is_told():
    start = datetime(2001, 2, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=2)))

    assert to_datetime(ManualClock(start).now()) == start


async def test_a_manual_clock_wakes_sleepers_that_are_due_in_the_order_of_the_due_times():
    clock = ManualClock()
    woken: list[int] = []

    async def sleep(seconds):
        await clock.sleep(seconds * SECOND)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleep(seconds)) for seconds in (3, 1, 2, 9)]
    await turn()
    assert clock.next_due == clock.now() + 1_000_000
    clock.advance(3 * SECOND)
    await turn()

    assert woken == [1, 2, 3]
    assert clock.next_due == clock.now() + 6_000_000
    tasks[-1].cancel()
    await turn()
    assert clock.next_due is None


async def test_a_manual_clock_does_not_wake_early():
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(SECOND))
    await turn()
    clock.advance(SECOND - timedelta(microseconds=1))
    await turn()
    assert not task.done()
    clock.advance(timedelta(microseconds=1))
    await turn()

    assert task.done()


async def test_no_duration_is_no_sleep():
    clock = ManualClock()
    await clock.sleep(timedelta(0))
    await clock.sleep(-SECOND)

    assert clock.next_due is None


async def test_a_cancelled_sleeper_disturbs_no_other():
    clock = ManualClock()
    first = asyncio.create_task(clock.sleep(SECOND))
    second = asyncio.create_task(clock.sleep(2 * SECOND))
    await turn()
    first.cancel()
    await turn()
    assert clock.next_due == clock.now() + 2_000_000
    clock.advance(2 * SECOND)
    await turn()

    assert first.cancelled()
    assert second.done()


async def test_a_step_back_moves_the_time_and_keeps_the_waits():
    clock = ManualClock()
    begun = clock.now()
    task = asyncio.create_task(clock.sleep(2 * SECOND))
    await turn()
    clock.step_back(timedelta(hours=1))
    assert clock.now() == begun - 3_600_000_000
    clock.advance(SECOND)
    await turn()
    assert not task.done()
    clock.advance(SECOND)
    await turn()

    assert task.done()


def test_a_manual_clock_does_not_advance_backwards():
    with pytest.raises(ValueError, match="is out of range; pass zero or more"):
        ManualClock().advance(-SECOND)


@pytest.mark.parametrize(
    ("value", "duration"),
    [
        (0, timedelta(0)),
        (1, SECOND),
        (0.25, SECOND / 4),
        (SECOND, SECOND),
        (LONGEST_DURATION, LONGEST_DURATION),
    ],
)
def test_durations_are_timedeltas_or_seconds(value, duration):
    assert to_duration(value, "timeout") == duration


@pytest.mark.parametrize(
    "value",
    [
        -1,
        -SECOND,
        float("nan"),
        float("inf"),
        1e300,
        10**400,
        LONGEST_DURATION + SECOND,
        "1",
        None,
        True,
        1j,
    ],
)
def test_what_is_no_duration_is_refused_with_its_value(value):
    with pytest.raises(InvalidDuration, match=r"^timeout "):
        to_duration(value, "timeout")


def test_an_instant_after_the_last_day_is_shown_as_that_day() -> None:
    far = to_datetime(2**62)  # asyncio.sleep takes thousands of years

    assert (far.year, far.month, far.day) == (9999, 12, 31)
    assert far.utcoffset() == timedelta(0)
