"""What an instance is doing now, in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from perdure.client.description import OpenActivity, OpenTimer, OpenWait
from perdure.client.info import InstanceInfo
from perdure.clock import Instant
from perdure.history import ChildScheduled
from perdure.records.instances import InstanceStatus
from perdure.records.listing import QueuedMessage

_MOST_NAMED = 5


def in_words(
    info: InstanceInfo,
    *,
    activities: Sequence[OpenActivity],
    timers: Sequence[OpenTimer],
    waits: Sequence[OpenWait],
    children: Sequence[ChildScheduled],
    messages: Sequence[QueuedMessage],
    is_leased: bool,
    now: Instant,
    last_event: int,
) -> str:
    """A sentence without its end, such as "waits for event 'approval' since 2030-01-01 12:00:00"."""
    if info.status is not InstanceStatus.RUNNING:
        return _end(info)
    if info.parked is not None:
        parked = info.parked
        return f"is parked ({parked.reason}) since {_time(parked.since)}: {parked.details}"
    if is_leased:
        return "runs a turn" if last_event else "runs its first turn"
    for timer in timers:
        if timer.purpose == "start":
            return f"starts at {_time(timer.due)}"
    if not last_event:
        return f"waits for its first turn since {_time(info.created_at)}"
    ready = sum(1 for each in messages if each.visible_at is None or each.visible_at <= now)
    if ready:
        noun = "message" if ready == 1 else "messages"
        return f"waits for a runtime that takes its {noun} ({ready})"
    parts = [
        *(_activity(each) for each in activities),
        *(f"waits for event {each.name!r} since {_time(each.since)}" for each in waits),
        *(f"waits for child {each.instance!r} since {_time(each.time)}" for each in children),
        *_timers(timers),
    ]
    if not parts:
        return "waits for nothing; see its history"
    named, more = parts[:_MOST_NAMED], len(parts) - _MOST_NAMED
    return "; ".join([*named, *([f"and {more} more"] if more > 0 else [])])


def _end(info: InstanceInfo) -> str:
    if info.failure is not None:
        return f"failed at {_time(info.updated_at)}: {info.failure.display_message()}"
    return f"completed at {_time(info.updated_at)}"


def _activity(activity: OpenActivity) -> str:
    again = "" if activity.attempt == 1 else f" (attempt {activity.attempt})"
    if activity.leased_until is not None:
        return f"runs activity {activity.name!r}{again} since {_time(activity.since)}"
    tag = "" if activity.tag is None else f" of the tag {activity.tag!r}"
    return (
        f"waits for a worker{tag} for activity {activity.name!r}{again} since"
        f" {_time(activity.since)}"
    )


def _timers(timers: Sequence[OpenTimer]) -> Iterator[str]:
    for timer in timers:
        if timer.purpose == "cleanup":
            yield f"cleans up after a cancellation until {_time(timer.due)} at the latest"
        elif timer.purpose == "sleep":
            yield f"sleeps until {_time(timer.due)}"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
