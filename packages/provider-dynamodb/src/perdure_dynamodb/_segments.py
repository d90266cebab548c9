"""History segments: the events of one commit, packed into few items.

A segment is named by the number of its last event and holds the events before it without gaps,
each with its length ahead, compressed where that helps. It never holds more than about a
megabyte, unless a single event does, so that a page of history stays bounded.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perdure.contract import StoredEvent
from perdure.errors import StorageCorrupt

SEGMENT_BYTES = 1_000_000

_PLAIN, _DEFLATED = b"\x00", b"\x01"
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Segment:
    """Packed events, from the number after an earlier segment's last to `last`."""

    last: int
    count: int
    data: bytes


def pack(events: Sequence[bytes], *, after: int) -> Iterator[Segment]:
    """Segments of the events, which follow the event `after`."""
    group: list[bytes] = []
    size = 0
    for event in events:
        if group and size + len(event) > SEGMENT_BYTES:
            after += len(group)
            yield Segment(after, len(group), _pack_one(group))
            group, size = [], 0
        group.append(event)
        size += len(event)
    if group:
        yield Segment(after + len(group), len(group), _pack_one(group))


def unpack(data: bytes, *, last: int, where: str) -> list[StoredEvent]:
    """The events of a segment whose last event has this number."""
    try:
        events = list(_split(zlib.decompress(data[1:]) if data[:1] == _DEFLATED else data[1:]))
    except (zlib.error, struct.error, ValueError) as error:
        raise StorageCorrupt(
            f"the history segment of {where} that ends with event {last} cannot be unpacked"
            f" ({error}); it was damaged or written by something else",
            operation="read_history",
        ) from error
    first = last - len(events) + 1
    return [StoredEvent(number=first + place, data=event) for place, event in enumerate(events)]


def _pack_one(events: Sequence[bytes]) -> bytes:
    plain = b"".join(_LENGTH.pack(len(event)) + event for event in events)
    deflated = zlib.compress(plain, 1)
    return _DEFLATED + deflated if len(deflated) < len(plain) else _PLAIN + plain


def _split(plain: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(plain):
        (length,) = _LENGTH.unpack_from(plain, place)
        place += _LENGTH.size
        if place + length > len(plain):
            raise ValueError("it ends in the middle of an event")
        yield plain[place : place + length]
        place += length
