"""Where a history can be cut, so that a rewound or forked execution goes on from there.

A cut keeps the events up to a number. The execution goes on from an incoming event, to which its
code answers again, or from the end of what the code asked for after one. A cut between two commands
of one answer would keep half of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from perdure.history import (
    INCOMING,
    TERMINAL,
    CancelRequested,
    Event,
    OrchestrationFailed,
    OrchestrationStarted,
)
from perdure.model.details import Cancelled, Raised


def cuts(events: Sequence[Event]) -> list[int]:
    """The numbers up to which this history, the whole one of an execution, may be kept."""
    found: list[int] = []
    for place, event in enumerate(events):
        if isinstance(event, TERMINAL):
            break
        after = events[place + 1] if place + 1 < len(events) else None
        if (
            isinstance(event, INCOMING)
            or after is None
            or isinstance(after, (*INCOMING, *TERMINAL))
        ):
            found.append(event.event_id)
    return found


def nearest_cuts(events: Sequence[Event], to_event: int) -> tuple[int, ...]:
    """The cuts next to a number that is none: the one before it and the one behind, where there are."""
    possible = cuts(events)
    before = [number for number in possible if number < to_event][-1:]
    behind = [number for number in possible if number > to_event][:1]
    return (*before, *behind)


def cut_before_failure(events: Sequence[Event]) -> int:
    """The cut from which a failed execution is tried again.

    It drops the incoming event that led to the failure, and what followed. A cancelled execution is
    cut before the request to cancel it. Where the runtime, not the code, has ended the execution,
    nothing led to the failure, and only the end is dropped.
    """
    last = events[-1]
    kind = last.details.kind if isinstance(last, OrchestrationFailed) else None
    if kind is not None and not isinstance(kind, Raised | Cancelled):
        return max(1, last.event_id - 1)
    wanted = CancelRequested if isinstance(kind, Cancelled) else INCOMING
    for event in reversed(events):
        if isinstance(event, wanted) and not isinstance(event, OrchestrationStarted):
            return event.event_id - 1
    return 1
