"""The rules that every history keeps, after any run, kill, cancellation or repeat.

`violations_in` reads the events of one execution, without the code that ran. A history that keeps
the rules may still be the wrong one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from perdure import history
from perdure.history import (
    TERMINAL,
    Event,
    EventRaised,
    OrchestrationFailed,
    OrchestrationStarted,
)

_SCHEDULES: dict[type[Event], tuple[type[Event], ...]] = {
    history.ActivityCompleted: (history.ActivityScheduled,),
    history.ActivityFailed: (history.ActivityScheduled,),
    history.TimerFired: (history.TimerCreated,),
    history.ChildCompleted: (history.ChildScheduled,),
    history.ChildFailed: (history.ChildScheduled,),
    history.ChildRefused: (history.ChildScheduled,),
    history.WorkCancelled: (
        history.ActivityScheduled,
        history.TimerCreated,
        history.ChildScheduled,
        history.WaitCreated,
    ),
}
"""The events that end scheduled work, and the events that each may end."""


def violations_in(events: Sequence[Event], *, ended: bool) -> list[str]:
    """All violations in one execution's history, as sentences.

    Events are numbered from 1 without gaps. The first is the start, and the only one; an execution
    that was terminated before its first turn has its end alone. The event
    that ends work comes once, after that work's schedule event. No external event and no patch is there twice.
    Time never goes back. An execution that has `ended` has one terminal event, the last; a
    running one has none.
    """
    return [
        *_faults_in_numbers(events),
        *_faults_in_order(events),
        *_faults_in_refusals(events),
        *_faults_in_patches(events),
        *_faults_in_time(events),
        *_faults_in_ends(events, ended),
    ]


def _faults_in_numbers(events: Sequence[Event]) -> Iterator[str]:
    for place, event in enumerate(events, 1):
        if event.event_id != place:
            yield f"event {place} has the number {event.event_id}"
        never_began = len(events) == 1 and isinstance(event, OrchestrationFailed)
        if isinstance(event, OrchestrationStarted) is not (place == 1) and not never_began:
            yield f"event {place} is {event.kind}; the first is the start, and the only one"


def _faults_in_order(events: Sequence[Event]) -> Iterator[str]:
    seen: dict[int, Event] = {}
    ended: dict[int, int] = {}
    raised: set[str] = set()
    for event in events:
        if isinstance(event, EventRaised):
            if event.message_id in raised:
                yield f"event {event.event_id} was raised before: {event.message_id!r}"
            raised.add(event.message_id)
        schedules = _SCHEDULES.get(type(event))
        if schedules is not None:
            scheduled = int(getattr(event, "scheduled", 0))
            if not isinstance(seen.get(scheduled), schedules):
                yield f"event {event.event_id}, {event.kind}, ends {scheduled}, which is no such work"
            if scheduled in ended:
                yield f"event {event.event_id} ends {scheduled}, as event {ended[scheduled]} did"
            ended[scheduled] = event.event_id
        seen[event.event_id] = event


def _faults_in_refusals(events: Sequence[Event]) -> Iterator[str]:
    """A refusal names an external event and a wait or a poll before it, and no event is refused twice."""
    seen = {event.event_id: event for event in events}
    refused: set[int] = set()
    for event in events:
        if isinstance(event, history.EventRefused):
            raised, wait = seen.get(event.event), seen.get(event.wait)
            if not isinstance(raised, EventRaised) or raised.event_id > event.event_id:
                yield f"event {event.event_id} refuses {event.event}, which is no external event"
            waits = (history.WaitCreated, history.EventPolled)
            if not isinstance(wait, waits) or wait.event_id > event.event_id:
                yield f"event {event.event_id} refuses for {event.wait}, which is no wait"
            if event.event in refused:
                yield f"event {event.event_id} refuses {event.event} a second time"
            refused.add(event.event)


def _faults_in_patches(events: Sequence[Event]) -> Iterator[str]:
    names: set[str] = set()
    for event in events:
        if isinstance(event, history.PatchApplied):
            if event.name in names:
                yield f"event {event.event_id} records patch {event.name!r} a second time"
            names.add(event.name)


def _faults_in_time(events: Sequence[Event]) -> Iterator[str]:
    for earlier, later in pairwise(events):
        if later.at < earlier.at:
            yield f"event {later.event_id} is earlier than the event before it"
    for event in events:
        if isinstance(event, history.TimerFired):
            created = next((e for e in events if e.event_id == event.scheduled), None)
            if isinstance(created, history.TimerCreated) and event.at < created.fire_at:
                yield f"event {event.event_id} fired a timer before it was due"


def _faults_in_ends(events: Sequence[Event], ended: bool) -> Iterator[str]:
    terminal = [event.event_id for event in events if isinstance(event, TERMINAL)]
    if ended and terminal != [len(events)]:
        yield f"of {len(events)} events the terminal ones are {terminal}; only the last is to be"
    if not ended and terminal:
        yield f"events {terminal} are terminal although the execution has not ended"
