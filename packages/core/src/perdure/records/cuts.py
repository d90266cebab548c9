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
    ActivityFailed,
    ActivityScheduled,
    ActivityStarted,
    CancelRequested,
    ChildFailed,
    ChildRefused,
    Event,
    OrchestrationFailed,
    OrchestrationStarted,
    TimerFired,
)
from perdure.model.details import Cancelled, Raised


def has_begun(events: Sequence[Event]) -> bool:
    """Whether the execution had a turn; one that a client ended before has its end alone."""
    return bool(events) and isinstance(events[0], OrchestrationStarted)


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

    The failure of an activity or of a child is dropped, so that the work is done again, with all
    its attempts. A success is kept, and so is what it brought: the code alone answers to it again.
    A cancelled execution is cut before the request to cancel it. Where the runtime or a client, not
    the code, has ended the execution, only that end is dropped.
    """
    last = events[-1]
    kind = last.details.kind if isinstance(last, OrchestrationFailed) else None
    if isinstance(kind, Cancelled):
        request = _last(events, CancelRequested)
        if request is not None:
            return request.event_id - 1
    elif kind is None or isinstance(kind, Raised):
        led_to_it = _last(events, INCOMING)
        if isinstance(led_to_it, ActivityFailed):
            return _first_failure(events, led_to_it).event_id - 1
        if isinstance(led_to_it, ChildFailed | ChildRefused):
            return led_to_it.event_id - 1
        return 1 if led_to_it is None else led_to_it.event_id
    return max(1, last.event_id - 1)


def _last(events: Sequence[Event], kinds: type[Event] | tuple[type[Event], ...]) -> Event | None:
    return next((event for event in reversed(events) if isinstance(event, kinds)), None)


def _first_failure(events: Sequence[Event], failed: ActivityFailed) -> ActivityFailed:
    """The failure of the first of these attempts, as far as nothing else came in between them."""
    scheduled = _schedule_of(events, failed)
    for event in reversed(events[: failed.event_id - 1]):
        if scheduled is None or scheduled.attempt == 1:
            break
        if isinstance(event, ActivityFailed):
            earlier = _schedule_of(events, event)
            if earlier is None or (earlier.name, earlier.attempt + 1) != (
                scheduled.name,
                scheduled.attempt,
            ):
                break
            failed, scheduled = event, earlier
        elif isinstance(event, INCOMING) and not isinstance(event, TimerFired | ActivityStarted):
            break
    return failed


def _schedule_of(events: Sequence[Event], failed: ActivityFailed) -> ActivityScheduled | None:
    event = events[failed.scheduled - 1] if failed.scheduled <= len(events) else None
    return event if isinstance(event, ActivityScheduled) else None
