"""The history of an ended execution, packed into a few hundred bytes.

The history of an ended execution never changes again, so a provider may pack it in the commit that
ends it, and store one value in place of the events.
Most of an event is the same in every history: its kind, the names of its fields, the beginning of
its time. The compression therefore starts from a dictionary of these texts, and a later event is
compressed by the earlier ones.

The dictionary and the layout are part of what is stored, so neither ever changes: another layout
needs other functions beside these. Events are opaque: any bytes come back as they were.

A packed history is one zlib stream. It begins with a check of the dictionary and ends with a check
of the data, and holds the number of events, the length of each, and then the events.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Final

MAX_PACKED_BYTES: Final = 16 * 1024
"""The bytes of the largest history that is packed: more would hold up the other commits of its group."""
MAX_PACKED_EVENTS: Final = 512
"""The most events that are packed."""

# What compression finds nearer to the end costs less, so the most frequent texts stand last.
_DICTIONARY: Final = b"".join(
    (
        b'","headers":{"traceparent":"00-","python":"3.12","python":"3.13","python":"3.14"',
        b'"parent":{"instance":"","incarnation":"","execution":1,"event":',
        b'"details":{"kind":"application","type":"","message":"","retryable":true,"traceback":"',
        b'{"kind":"EventRefused","at":,"event":,"wait":,"reason":"',
        b'{"kind":"CancelRequested","at":,"reason":"',
        b'{"kind":"WorkCancelled","at":,"scheduled":',
        b'{"kind":"PatchApplied","at":,"name":"","deprecated":false}',
        b'{"kind":"EventSent","at":,"instance":"","name":"","data":"',
        b'{"kind":"EventPolled","at":,"name":"","event":',
        b'{"kind":"ValueRead","at":,"key":"","value":"',
        b'{"kind":"ValueSet","at":,"key":"","value":"","previous":"","refused":false}',
        b'{"kind":"StatusSet","at":,"value":"',
        b'{"kind":"DetachedScheduled","at":,"instance":"","name":"","input":"',
        b'{"kind":"ChildFailed","at":,"scheduled":,"details":{',
        b'{"kind":"ChildScheduled","at":,"instance":"","name":"","input":"","version":"',
        b'{"kind":"ChildCompleted","at":,"scheduled":,"result":"',
        b'{"kind":"WaitCreated","at":,"name":"',
        b'{"kind":"EventRaised","at":,"name":"","data":"","message_id":"',
        b'{"kind":"TimerCreated","at":,"fire_at":,"purpose":"sleep"}',
        b'{"kind":"TimerFired","at":,"scheduled":',
        b'{"kind":"ActivityStarted","at":,"scheduled":',
        b'{"kind":"ActivityFailed","at":,"scheduled":,"details":{',
        b'{"kind":"OrchestrationFailed","at":,"details":{',
        b'{"kind":"OrchestrationContinuedAsNew","at":,"input":"","version":"',
        b'{"kind":"OrchestrationCompleted","at":,"output":"',
        b'{"kind":"OrchestrationStarted","at":17,"instance":"","incarnation":"","execution":1,',
        b'"name":"","version":"1.0.0","input":"","python":"3.11","engine":3,"seen":[],"format":2}',
        b'{"kind":"ActivityScheduled","at":17,"name":"","input":"","attempt":1}',
        b'{"kind":"ActivityCompleted","at":17,"scheduled":,"result":"',
    )
)
# A small window costs the least to set up, and holds the dictionary and forty usual events.
_LEVEL: Final = 5
_WINDOW: Final = 13
_MEMORY: Final = 5
_LARGEST_UNPACKED: Final = MAX_PACKED_BYTES + 2 * (MAX_PACKED_EVENTS + 1)


def pack_history(events: Sequence[bytes]) -> bytes | None:
    """The events of an execution as one value, or None if they are too large to be packed.

    At most `MAX_PACKED_EVENTS` events of `MAX_PACKED_BYTES` bytes in all are packed.
    """
    if len(events) > MAX_PACKED_EVENTS or sum(map(len, events)) > MAX_PACKED_BYTES:
        return None
    lengths = struct.pack(f">{len(events) + 1}H", len(events), *map(len, events))
    stream = zlib.compressobj(
        _LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY
    )
    return stream.compress(lengths + b"".join(events)) + stream.flush()


def unpack_history(packed: bytes) -> tuple[bytes, ...]:
    """The events of a packed history; raises `ValueError` if it is damaged."""
    stream = zlib.decompressobj(zdict=_DICTIONARY)
    try:
        data = stream.decompress(packed, _LARGEST_UNPACKED)
        if not stream.eof or stream.unused_data:
            raise ValueError("it has no end, or bytes behind its end")
        (count,) = struct.unpack_from(">H", data)
        lengths = struct.unpack_from(f">{count}H", data, 2)
    except (zlib.error, struct.error) as error:
        raise ValueError(str(error)) from error
    begin = 2 * (count + 1)
    ends = list(accumulate(lengths, initial=begin))
    if ends[-1] != len(data):
        raise ValueError(f"it has {len(data)} bytes, and its events have {ends[-1]}")
    return tuple(data[begin:end] for begin, end in pairwise(ends))
