"""How running activities hear that a cancelled orchestration waits for their outcome.

Where this process runs the orchestration too, its commit tells them at once. Where another process
does, nothing in the queue changes: the activity is still wanted. So this process reads what the
history has recorded since the activity was scheduled, once in a while and only for activities that
were scheduled with `cancellation="wait"`; it reads each event once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from perdure.contract.provider import Provider
from perdure.errors import ExecutionNotFound, InstanceNotFound, ProviderError
from perdure.history import CancelRequested
from perdure.replay.signals import UndecodableData
from perdure.runtime.activity_cancellation import ActivityCancellation
from perdure.runtime.activity_leases import ActivityLeases, HeldActivity
from perdure.runtime.histories import read_events_after
from perdure.runtime.repeated_failures import RepeatedFailures

_LONGEST_PAUSE: Final = timedelta(seconds=1)


@dataclass(slots=True, eq=False, repr=False)
class _Seen:
    """What was read of the history of one execution."""

    after: int
    """Reading began after this event."""
    last: int
    """The last event that was read."""
    cancelled_at: int | None = None
    """The number of the event that requests the cancellation."""


class EndRequests:
    """See the module."""

    def __init__(
        self,
        provider: Provider,
        leases: ActivityLeases,
        cancellation: ActivityCancellation,
        poll_interval: timedelta,
    ) -> None:
        self._provider = provider
        self._leases = leases
        self._cancellation = cancellation
        self._pause = min(poll_interval, _LONGEST_PAUSE)
        self._seen: dict[tuple[str, int], _Seen] = {}
        """By incarnation and execution."""

    async def watch(self) -> None:
        """Ask activities to end whose orchestration was cancelled elsewhere, again and again."""
        failures = RepeatedFailures("looking for cancellations", self._provider.clock)
        while True:
            await self._leases.until_busy()
            await self._provider.clock.sleep(self._pause)
            groups: dict[tuple[str, int], list[HeldActivity]] = defaultdict(list)
            for held in self._leases.awaited():
                groups[held.incarnation, held.execution].append(held)
            self._seen = {key: seen for key, seen in self._seen.items() if key in groups}
            for key, activities in groups.items():
                try:
                    await self._look(key, activities)
                    failures.succeeded()
                except ProviderError as error:
                    failures.failed(error)

    async def _look(self, key: tuple[str, int], activities: list[HeldActivity]) -> None:
        instance = activities[0].instance
        state = await self._provider.read_instance(instance)
        if state is None or (state.incarnation, state.execution) != key:
            return  # they are void, which the renewal of their leases tells
        first = min(held.event for held in activities)
        seen = self._seen.get(key)
        if seen is None or first < seen.after:
            seen = self._seen[key] = _Seen(first, first)
        if seen.cancelled_at is None and state.last_event > seen.last:
            try:
                events = await read_events_after(self._provider, state, seen.last)
            except (InstanceNotFound, ExecutionNotFound, UndecodableData):
                return
            requests = (each.event_id for each in events if isinstance(each, CancelRequested))
            seen.cancelled_at = next(requests, None)
            seen.last = max((each.event_id for each in events), default=seen.last)
        if seen.cancelled_at is not None:
            # What the cleanup has scheduled since is not to end.
            ids = [held.id for held in activities if held.event < seen.cancelled_at]
            self._cancellation.request_end(instance, ids)
