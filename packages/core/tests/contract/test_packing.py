"""Packed histories: small, and they come back as they were or are refused."""

from __future__ import annotations

import hashlib
import random
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from perdure import history
from perdure.contract import (
    MAX_PACKED_BYTES,
    MAX_PACKED_EVENTS,
    pack_history,
    packing,
    unpack_history,
)

DIGEST = "b452eb8ce263d49330f5b2cac05a5069cab9757d5b2a1c2f522967cc0ffd331f"

# What JSON texts are made of, and what looks like parts of the format.
texts = st.sampled_from(
    [b'{"kind":"', b'","at":1795771771116843', b"\\u0000", b"\\\\", b"\x00", b"\x01\x02", b"\xff"]
)
events = st.lists(
    st.one_of(st.binary(max_size=300), st.lists(texts, max_size=40).map(b"".join)), max_size=60
)


@settings(max_examples=50)
@given(events)
@example([])
@example([b""] * MAX_PACKED_EVENTS)
@example([bytes(MAX_PACKED_BYTES)])
def test_any_events_come_back_as_they_were(events: list[bytes]) -> None:
    packed = pack_history(events)

    assert packed is not None
    assert unpack_history(packed) == tuple(events)


def test_what_is_too_large_is_not_packed() -> None:
    assert pack_history([bytes(MAX_PACKED_BYTES), b"x"]) is None
    assert pack_history([b"x"] * (MAX_PACKED_EVENTS + 1)) is None


@given(st.binary(max_size=60))
def test_what_was_never_packed_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack_history(data)


def test_a_packed_history_with_any_changed_byte_is_refused() -> None:
    packed = pack_history([b'{"kind":"ActivityScheduled","at":1795771771116843}', b"x"])
    assert packed is not None

    for place in range(len(packed)):
        changed = bytearray(packed)
        changed[place] ^= 0x55
        with pytest.raises(ValueError, match=r"."):
            unpack_history(bytes(changed))
    for end in range(len(packed)):
        with pytest.raises(ValueError, match=r"."):
            unpack_history(packed[:end])
    with pytest.raises(ValueError, match="behind its end"):
        unpack_history(packed + b"x")


def test_lengths_that_do_not_fit_the_events_are_refused() -> None:
    stream = zlib.compressobj(zdict=packing._DICTIONARY)  # pyright: ignore[reportPrivateUsage]
    packed = stream.compress(b"\x00\x01\x00\x09abc") + stream.flush()

    with pytest.raises(ValueError, match="its events have"):
        unpack_history(packed)


def test_the_dictionary_is_part_of_the_format() -> None:
    # A change makes all packed histories unreadable: another layout needs other functions.
    assert hashlib.sha256(packing._DICTIONARY).hexdigest() == DIGEST  # pyright: ignore[reportPrivateUsage]
    assert len(packing._DICTIONARY) < 2 ** min(packing._WINDOW, 15) - 262  # pyright: ignore[reportPrivateUsage]


def test_the_dictionary_has_the_kinds_of_all_events() -> None:
    missing = [
        kind.__name__
        for kind in history._CLASSES.values()  # pyright: ignore[reportPrivateUsage]
        if b'{"kind":"%s","at":' % kind.__name__.encode() not in packing._DICTIONARY  # pyright: ignore[reportPrivateUsage]
    ]

    assert missing == ["ChildRefused", "ValuesListed"]  # rare and short


def five_steps() -> list[bytes]:
    """The events of an orchestration of five steps, some milliseconds apart."""
    noise = random.Random(1)
    at = 1_795_771_771_116_843
    steps: list[history.Event] = [
        history.OrchestrationStarted(
            event_id=1,
            at=at,
            instance="order-4711",
            incarnation=noise.randbytes(16).hex(),
            execution=1,
            name="process_order",
            version="1.0.0",
            input='"4711"',
            python="3.13",
            engine=3,
        )
    ]
    for number in range(2, 12, 2):
        steps.append(
            history.ActivityScheduled(event_id=number, at=at, name="charge_card", input=f"{number}")
        )
        at += noise.randrange(100_000)
        steps.append(
            history.ActivityCompleted(
                event_id=number + 1, at=at, scheduled=number, result=f"{number}"
            )
        )
    steps.append(history.OrchestrationCompleted(event_id=12, at=at, output='"paid"'))
    return [history.encode_event(event) for event in steps]


def test_five_steps_take_a_quarter_of_what_their_events_do() -> None:
    events = five_steps()
    packed = pack_history(events)

    assert sum(map(len, events)) > 1150
    assert packed is not None
    assert len(packed) < 300
