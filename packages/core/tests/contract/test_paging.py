"""What fits into one answer, and pages of histories without gaps."""

from __future__ import annotations

from datetime import timedelta

import pytest
from perdure.contract import (
    FARTHEST_END,
    LONGEST_LEASE,
    MAX_BYTES_PER_DELIVERY,
    MAX_MESSAGES_PER_DELIVERY,
    StorageCorrupt,
    StoredEvent,
    checked_page,
    first_page,
    is_in_force,
)


def events(*numbers: int) -> list[StoredEvent]:
    return [StoredEvent(number=number, data=b"x") for number in numbers]


def test_a_page_ends_at_the_largest_number_of_items() -> None:
    items = [b""] * (MAX_MESSAGES_PER_DELIVERY + 1)

    assert first_page(items[:-1], len) == (items[:-1], False)
    assert first_page(items, len) == (items[:-1], True)


def test_a_page_ends_before_the_item_that_exceeds_the_bytes() -> None:
    half = bytes(MAX_BYTES_PER_DELIVERY // 2)

    assert first_page([half, half], len) == ([half, half], False)
    assert first_page([half, half, b"x"], len) == ([half, half], True)


def test_a_page_holds_an_item_that_is_larger_than_a_page() -> None:
    large = bytes(MAX_BYTES_PER_DELIVERY + 1)

    assert first_page([large, b"x"], len) == ([large], True)
    assert first_page([], len) == ([], False)


def test_a_page_of_a_history_may_end_later_than_what_was_read_before() -> None:
    page = checked_page("a", 1, events(3, 4), after=2, last=3, more=False)

    assert [event.number for event in page.events] == [3, 4]
    assert not page.more


@pytest.mark.parametrize(
    ("numbers", "more", "missing"),
    [((4, 5), False, 3), ((3, 5), False, 4), ((3, 4), False, 5), ((), False, 3), ((3, 5), True, 4)],
)
def test_a_missing_event_is_named(numbers, more, missing) -> None:
    with pytest.raises(StorageCorrupt, match=f"event {missing} of execution 2 of instance 'a'"):
        checked_page("a", 2, events(*numbers), after=2, last=5, more=more)


def test_a_page_that_others_follow_need_not_reach_the_last_event() -> None:
    assert checked_page("a", 1, events(1, 2), after=0, last=5, more=True).more


def test_a_lease_is_in_force_until_its_end_unless_that_is_too_far_away() -> None:
    now = 10**15
    longest = now + LONGEST_LEASE // timedelta(microseconds=1)

    assert is_in_force(now + 1, now)
    assert is_in_force(longest, now)
    assert is_in_force(now + FARTHEST_END, now)
    assert not is_in_force(now, now)
    assert not is_in_force(now + FARTHEST_END + 1, now)
    assert not is_in_force(None, now)
