"""What of a history is open: work that has not ended, waits without an event, events without a wait.

It reads the events as the engine would deliver them, without the code: an external event goes to the
oldest wait of its name, or is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from perdure import history
from perdure.history import Event

_ENDS = (
    history.ActivityCompleted,
    history.ActivityFailed,
    history.ChildCompleted,
    history.ChildFailed,
    history.ChildRefused,
    history.TimerFired,
    history.WorkCancelled,
)


@dataclass(slots=True, eq=False, repr=False)
class OpenWork:
    """What the events that were read so far leave open."""

    started: history.OrchestrationStarted | None = None
    activities: dict[int, history.ActivityScheduled] = field(
        default_factory=dict[int, history.ActivityScheduled]
    )
    """By the number of the schedule event, as the others."""
    failures: dict[int, history.ActivityFailed] = field(
        default_factory=dict[int, history.ActivityFailed]
    )
    """The failure of the attempt before, of an activity that is open."""
    timers: dict[int, history.TimerCreated] = field(default_factory=dict[int, history.TimerCreated])
    children: dict[int, history.ChildScheduled] = field(
        default_factory=dict[int, history.ChildScheduled]
    )
    waits: dict[int, history.WaitCreated] = field(default_factory=dict[int, history.WaitCreated])
    kept: dict[int, history.EventRaised] = field(default_factory=dict[int, history.EventRaised])
    """External events that no wait has taken, by their numbers."""
    _taken: dict[int, history.WaitCreated] = field(default_factory=dict[int, history.WaitCreated])
    _failed: dict[tuple[str, int], history.ActivityFailed] = field(
        default_factory=dict[tuple[str, int], history.ActivityFailed]
    )

    def read(self, events: Iterable[Event]) -> None:
        """Go on with these events."""
        for event in events:
            self._read(event)

    def origin(self, number: int) -> int:
        """The execution in which the event of this number was first recorded."""
        return 1 if self.started is None else self.started.origin(number)

    def _read(self, event: Event) -> None:
        match event:
            case history.OrchestrationStarted():
                self.started = event
            case history.ActivityScheduled():
                self.activities[event.event_id] = event
                failed = self._failed.pop((event.name, event.attempt - 1), None)
                if failed is not None:
                    self.failures[event.event_id] = failed
            case history.TimerCreated():
                self.timers[event.event_id] = event
            case history.ChildScheduled():
                self.children[event.event_id] = event
            case history.WaitCreated():
                self._wait(event)
            case history.EventRaised():
                self._raised(event)
            case history.EventRefused():
                # The event is consumed, and its wait goes on.
                if (wait := self._taken.pop(event.event, None)) is not None:
                    self._wait(wait)
            case history.EventPolled():
                if event.event is not None:
                    self.kept.pop(event.event, None)
            case _ if isinstance(event, _ENDS):
                self._ended(event, event.scheduled)
            case _:
                pass

    def _ended(self, event: Event, scheduled: int) -> None:
        activity = self.activities.pop(scheduled, None)
        if activity is not None and isinstance(event, history.ActivityFailed):
            self._failed[activity.name, activity.attempt] = event
        for work in (self.failures, self.timers, self.children, self.waits):
            work.pop(scheduled, None)

    def _wait(self, wait: history.WaitCreated) -> None:
        for number, event in self.kept.items():
            if event.name == wait.name:
                del self.kept[number]
                self._taken[number] = wait
                return
        self.waits[wait.event_id] = wait

    def _raised(self, event: history.EventRaised) -> None:
        for number in sorted(self.waits):
            if self.waits[number].name == event.name:
                self._taken[event.event_id] = self.waits.pop(number)
                return
        self.kept[event.event_id] = event
