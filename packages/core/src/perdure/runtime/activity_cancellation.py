"""Tells running activities to end: their result is not wanted, or their orchestration asks them to.

An activity whose result is not wanted is told at once and cancelled after its grace period. A
thread cannot be stopped: it is only told, and its result is dropped at its end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

from perdure.authoring.catalog import Catalog
from perdure.clock import Clock
from perdure.contract.waiting import all_of, first_of
from perdure.records.activities import ActivityLease
from perdure.runtime.activity_leases import ActivityLeases, HeldActivity, LeaseState
from perdure.runtime.activity_log import observe_end
from perdure.runtime.activity_store import ActivityStore
from perdure.runtime.host_loop import BackgroundTasks
from perdure.runtime.observers import Observers
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.slots import Kind, Slots


class ActivityCancellation:
    """See the module."""

    def __init__(
        self,
        *,
        clock: Clock,
        catalog: Catalog,
        options: RuntimeOptions,
        observers: Observers,
        leases: ActivityLeases,
        store: ActivityStore,
        slots: Slots,
        background: BackgroundTasks,
    ) -> None:
        self._clock = clock
        self._catalog = catalog
        self._options = options
        self._observers = observers
        self._leases = leases
        self._store = store
        self._slots = slots
        self._background = background
        self.is_stopping = False
        """Whether activities that are cancelled from now on have no grace period."""

    def cancel(self, instance: str, activities: Iterable[str] | None = None) -> None:
        """Tell running activities of an instance, or some of them, that they are not wanted."""
        chosen = None if activities is None else set(activities)
        for held in tuple(self._leases.running_of(instance)):
            if chosen is None or held.id in chosen:
                self.cancel_activity(held)

    def request_end(self, instance: str, activities: Iterable[str]) -> None:
        """Tell running activities of an instance to end; their results are still wanted."""
        chosen = set(activities)
        for held in self._leases.running_of(instance):
            if held.id in chosen:
                held.should_end = True
                if held.context is not None:
                    held.context.cancellation.request()

    def leases_lost(self, gone: Mapping[ActivityLease, HeldActivity]) -> None:
        """Take note of leases that are gone, and account for each (ACT-23)."""
        for lease, held in gone.items():
            if held.token == lease.token:  # else it goes on under another lease
                if held.state is LeaseState.RUNNING:
                    self.cancel_activity(held)
                else:
                    self._leases.release(held)
            self._background.spawn(self._store.account_for(lease))

    def cancel_activity(self, held: HeldActivity) -> None:
        """Tell an activity that its result is not wanted; after the grace period, cancel it."""
        if not held.is_wanted:
            return
        held.is_wanted = False
        if held.context is not None:
            held.context.cancellation.request()
        self._background.spawn(self._cancel_later(held))

    async def _cancel_later(self, held: HeldActivity) -> None:
        # A thread cannot be stopped: its slot stays taken, and its result is dropped, at its end.
        if held.task is None or self._slots.kind(held.name) is Kind.BLOCKING:
            return
        grace = timedelta(0) if self.is_stopping else self._grace(held)
        await first_of(all_of([held.task]), self._clock.sleep(grace))
        if not held.task.done():
            observe_end(self._observers, held, "cancelled", self._clock.now())
            held.task.cancel()

    async def until_ended(self, held: HeldActivity) -> None:
        """Wait until an activity that was told to end has ended.

        A thread that hangs is waited for as long as its grace period: its next delivery runs
        beside it then, as it would in another process.
        """
        if held.task is None:
            return
        ended = all_of([held.task])
        if self._slots.kind(held.name) is Kind.BLOCKING:
            await first_of(ended, self._clock.sleep(self._grace(held)))
        else:
            await ended

    def _grace(self, held: HeldActivity) -> timedelta:
        if held.deadline is not None and self._clock.now() >= held.deadline:
            return timedelta(0)
        definition = self._catalog.activity(held.name)
        own = None if definition is None else definition.cancel_grace
        return self._options.cancel_grace if own is None else own

    def cancel_running(self) -> None:
        """Tell and cancel every running activity; each gives its lease back."""
        for held in self._leases.running():
            if held.context is not None:
                held.context.cancellation.request()
            if held.task is not None:
                held.task.cancel()
