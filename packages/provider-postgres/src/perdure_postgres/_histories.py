"""Histories as they are stored: a row for the events of a commit, and one value after the end.

A row has the number of its last event. It holds one event as it is, or several behind their lengths;
what would not fit into a page of the database beside others goes to rows of its own. The commit that
ends an execution packs all of its events into one value, and removes the rows. It can do so where
this process knows the events, because it has written or read them; otherwise the rows stay.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from perdure.contract import (
    MAX_PACKED_BYTES,
    MAX_PACKED_EVENTS,
    StoredEvent,
    TurnCommit,
    pack_history,
)

_ROW_BYTES: Final = 1800
"""A row of more bytes would be stored in pieces elsewhere."""
_KNOWN_BYTES: Final = 16 * 1024 * 1024
_COSTS: Final = 50
"""Bytes of memory that an event takes beside its own, and an execution without any."""
_LARGEST_KNOWN: Final = MAX_PACKED_BYTES + _COSTS * MAX_PACKED_EVENTS


@dataclass(frozen=True, slots=True)
class Segment:
    """Some of the events of a commit, which are one row."""

    last: int
    """The number of its last event within the commit, from 1."""
    count: int
    data: bytes


def segments_of(events: Sequence[bytes]) -> Iterator[Segment]:
    """The rows for the events of a commit."""
    part: list[bytes] = []
    size = last = 0
    for event in events:
        if part and size + len(event) > _ROW_BYTES:
            yield Segment(last, len(part), joined(part))
            part, size = [], 0
        part.append(event)
        size += len(event)
        last += 1
    if part:
        yield Segment(last, len(part), joined(part))


def joined(events: Sequence[bytes]) -> bytes:
    """The data of a row with these events."""
    if len(events) == 1:
        return events[0]
    return struct.pack(f">{len(events)}I", *map(len, events)) + b"".join(events)


def events_of(last: int, count: int, data: bytes) -> list[StoredEvent]:
    """The events of a row; raises ValueError if it is damaged."""
    if count == 1:
        return [StoredEvent(number=last, data=data)]
    begin = 4 * count
    if count < 1 or len(data) < begin:
        raise ValueError(f"{len(data)} bytes are not {count} events")
    found: list[StoredEvent] = []
    for number, length in enumerate(struct.unpack_from(f">{count}I", data), last - count + 1):
        found.append(StoredEvent(number=number, data=data[begin : begin + length]))
        begin += length
    if begin != len(data):
        raise ValueError(f"it has {len(data)} bytes, and its events have {begin}")
    return found


@dataclass(slots=True)
class _Known:
    execution: int
    events: list[bytes] = field(default_factory=list[bytes])
    size: int = _COSTS

    def cut(self, after: int) -> None:
        """Drop the events after this one: another process may have written others."""
        dropped = self.events[after:]
        self.size -= sum(map(len, dropped)) + _COSTS * len(dropped)
        del self.events[after:]


class RunningHistories:
    """The events of running executions that this process has written or read, as far as room allows.

    What is stored of an execution never changes, and a commit is refused unless its execution has as
    many events as it expects; so the events that are known here are those that the database has.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._size = 0

    def learn(
        self, instance: str, incarnation: str, execution: int, after: int, events: Sequence[bytes]
    ) -> None:
        """Take note of events that follow the event `after`."""
        key = instance, incarnation
        known = self._known.pop(key, None)
        if known is not None:
            self._size -= known.size
        if after == 0:
            known = _Known(execution)
        elif known is None or known.execution != execution or len(known.events) < after:
            return
        known.cut(after)
        known.events += events
        known.size += sum(map(len, events)) + _COSTS * len(events)
        if known.size > _LARGEST_KNOWN:
            # It will not be packed.
            return
        self._known[key] = known
        self._size += known.size
        while self._size > _KNOWN_BYTES:
            _, oldest = self._known.popitem(last=False)
            self._size -= oldest.size

    def forget(self, instance: str, incarnation: str) -> None:
        """Drop what is known: the execution is over, or another process has gone on with it."""
        known = self._known.pop((instance, incarnation), None)
        if known is not None:
            self._size -= known.size

    def pack(self, commit: TurnCommit) -> bytes | None:
        """The history that a commit ends, as one value; None if it is not known, or too large."""
        if commit.expected_event == 0:
            return pack_history(commit.events)
        known = self._known.get((commit.instance, commit.incarnation))
        if (
            known is None
            or known.execution != commit.execution
            or len(known.events) != commit.expected_event
        ):
            return None
        return pack_history((*known.events, *commit.events))
