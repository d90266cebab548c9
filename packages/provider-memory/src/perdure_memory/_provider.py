"""The memory provider: the methods of the contract over a store.

Each method is one step under the store's lock, without an await inside. A cancelled call has
therefore taken effect completely or not at all, and no lease goes to a caller that was cancelled.
Nothing survives the process, and nothing is polled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract import (
    DELETION,
    LISTING,
    RECOVERY,
    VALUES,
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CancellationWait,
    ChangeWait,
    Clock,
    CommitAnswer,
    HistoryPage,
    InstanceReopening,
    InstanceState,
    InstanceTermination,
    InstanceValues,
    Instant,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewInstance,
    Provider,
    ProviderAdmin,
    SystemClock,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
    WorkWait,
    check_commit,
    check_delay,
    check_lease,
    check_limit,
    check_reopening,
    has_changed,
)
from perdure.errors import (
    ActivityLeaseLost,
    ExecutionNotFound,
    InstanceAlreadyExists,
    InstanceNotFound,
    InstanceRunning,
)

from perdure_memory._admin import MemoryAdmin, page_of
from perdure_memory._commit import commit_turn
from perdure_memory._instances import Activity
from perdure_memory._named_stores import find_store
from perdure_memory._notifications import Subscribers, wait_until
from perdure_memory._options import MemoryOptions
from perdure_memory._ready_index import Row
from perdure_memory._recovery import reopen_instance, terminate_instance


class MemoryProvider(Provider):
    """A provider that keeps everything in this process, for tests and development.

    Several objects may use one named store, each in its own event loop and thread.
    """

    capabilities = frozenset({RECOVERY, DELETION, VALUES, LISTING})
    finish_limit = 1000
    tells_of_work = True
    tells_of_changes = True
    tells_of_cancellations = True

    def __init__(self, options: MemoryOptions | None = None, *, clock: Clock | None = None) -> None:
        options = options or MemoryOptions()
        super().__init__(clock=clock or SystemClock(), description=options.description)
        self._store = find_store(options)
        self._admin = MemoryAdmin(self._store, self.clock)

    async def create_instance(self, new: NewInstance) -> None:
        await asyncio.sleep(0)
        with self._store.lock:
            found = self._store.create(new, self.clock.now())
            if found is not None and found.incarnation != new.incarnation:
                raise InstanceAlreadyExists(new.instance)

    async def send(self, messages: Sequence[Message]) -> None:
        await asyncio.sleep(0)
        with self._store.lock:
            now = self.clock.now()
            for message in messages:
                self._store.post(message, now)

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        check_lease("lease_for", request.lease_for)
        check_limit(request.limit)
        await asyncio.sleep(0)
        with self._store.lock:
            now = self.clock.now()
            store, turns = self._store, self._store.turns
            turns.update(now)
            held = turns.leased_by(request.token, now)[: request.limit]
            free = request.limit - len(held)
            fresh = turns.oldest(store.registered_turns(request.serves), free, now)
            if request.unregistered_for is not None and len(fresh) < free:
                queues = store.unregistered_turns(request.serves)
                oldest = turns.oldest(queues, free - len(fresh), now)
                fresh += _ready_for(oldest, request.unregistered_for, now)
            until = now + to_microseconds(request.lease_for)
            for instance in fresh:
                turns.take(instance, request.token, until, now)
            return [
                each.as_leased(
                    now, served=request.serves.accepts(each.state.name, each.state.version)
                )
                for each in held + fresh
            ]

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        await asyncio.sleep(0)
        with self._store.lock:
            found = self._store.find(instance, incarnation)
            if found is None:
                raise InstanceNotFound(instance)
            row = found.find_execution(execution)
            if row is None:
                raise ExecutionNotFound(instance, execution)
            return page_of(instance, row, after)

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        # Without a pause: a runtime lets other tasks run between two turns of an instance.
        check_commit(commit, finish_limit=self.finish_limit)
        with self._store.lock:
            return commit_turn(self._store, commit, self.clock.now())

    async def release_turn(self, release: TurnRelease) -> None:
        check_delay(release.delay)
        await asyncio.sleep(0)
        with self._store.lock:
            now = self.clock.now()
            instance = self._store.instances.get(release.lease.instance)
            if instance is None:
                return
            if not instance.is_held_by(release.lease.token):
                if not release.counted:
                    instance.uncount(release.lease.token)
                return
            instance.count -= 0 if release.counted else 1
            self._store.turns.release(instance, now, delay=release.delay)
            if release.parked is not None:
                self._store.park(instance, release.parked, now)

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        check_lease("lease_for", lease_for)
        await asyncio.sleep(0)
        with self._store.lock:
            now = self.clock.now()
            until = now + to_microseconds(lease_for)
            gone: set[TurnLease] = set()
            for lease in leases:
                instance = self._store.instances.get(lease.instance)
                if instance is not None and instance.is_held_by(lease.token):
                    self._store.turns.grant(instance, lease.token, until, now)
                else:
                    gone.add(lease)
            return frozenset(gone)

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        check_lease("lease_for", request.lease_for)
        check_limit(request.limit)
        await asyncio.sleep(0)
        with self._store.lock:
            now = self.clock.now()
            store, activities = self._store, self._store.activities
            activities.update(now)
            held = activities.leased_by(request.token, now)[: request.limit]
            free = request.limit - len(held)
            queues = store.registered_activities(request.names, request.tags)
            fresh = activities.oldest(queues, free, now)
            if request.unregistered_for is not None and len(fresh) < free:
                queues = store.unregistered_activities(request, now)
                oldest = activities.oldest(queues, free - len(fresh), now)
                fresh += _ready_for(oldest, request.unregistered_for, now)
            until = now + to_microseconds(request.lease_for)
            for activity in fresh:
                activities.take(activity, request.token, until, now)
            return [each.as_leased(served=each.is_registered(request)) for each in held + fresh]

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await asyncio.sleep(0)
        with self._store.lock:
            now = self.clock.now()
            activity = self._held_activity(completion.lease)
            if activity is None:
                raise ActivityLeaseLost(
                    completion.lease.instance,
                    (completion.lease.activity,),
                    operation="complete_activity",
                )
            self._store.drop_activity(activity.instance, activity.new.id)
            self._store.post(completion.message, now)

    async def release_activity(self, release: ActivityRelease) -> None:
        check_delay(release.delay)
        await asyncio.sleep(0)
        with self._store.lock:
            now = self.clock.now()
            activity = self._store.find_activity(release.lease.instance, release.lease.activity)
            if activity is None:
                return
            if not activity.is_held_by(release.lease.token):
                if not release.counted:
                    activity.uncount(release.lease.token)
                return
            activity.count -= 0 if release.counted else 1
            self._store.activities.release(activity, now, delay=release.delay)
            if release.parked is not None:
                self._store.park(activity.instance, release.parked, now)

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        check_lease("lease_for", lease_for)
        await asyncio.sleep(0)
        with self._store.lock:
            now = self.clock.now()
            until = now + to_microseconds(lease_for)
            gone: set[ActivityLease] = set()
            for lease in leases:
                activity = self._held_activity(lease)
                if activity is None:
                    gone.add(lease)
                else:
                    self._store.activities.grant(activity, lease.token, until, now)
            return frozenset(gone)

    async def read_instance(self, instance: str) -> InstanceState | None:
        await asyncio.sleep(0)
        with self._store.lock:
            return self._state(instance)

    async def reopen_instance(self, reopening: InstanceReopening) -> None:
        check_reopening(reopening)
        await asyncio.sleep(0)
        with self._store.lock:
            reopen_instance(self._store, reopening, self.clock.now())

    async def terminate_instance(self, termination: InstanceTermination) -> bool:
        await asyncio.sleep(0)
        with self._store.lock:
            return terminate_instance(self._store, termination, self.clock.now())

    async def delete_instance(self, instance: str, *, incarnation: str) -> bool:
        await asyncio.sleep(0)
        with self._store.lock:
            found = self._store.find(instance, incarnation)
            if found is None:
                return False
            if found.is_running:
                raise InstanceRunning(instance)
            self._store.delete(found)
            return True

    async def prune_executions(self, instance: str, *, incarnation: str, before: int) -> int:
        await asyncio.sleep(0)
        with self._store.lock:
            found = self._store.find(instance, incarnation)
            if found is None:
                raise InstanceNotFound(instance)
            return self._store.prune(found, min(before, found.execution))

    async def delete_early_events(
        self, instance: str | None, *, arrived_before: Instant | None = None, limit: int
    ) -> int:
        check_limit(limit)
        await asyncio.sleep(0)
        with self._store.lock:
            return self._store.early_events.delete(instance, before=arrived_before, limit=limit)

    async def delete_namespace(self) -> None:
        await asyncio.sleep(0)
        with self._store.lock:
            self._store.clear()

    async def read_values(
        self, instance: str, *, keys: frozenset[str] | None = None
    ) -> InstanceValues | None:
        await asyncio.sleep(0)
        with self._store.lock:
            found = self._store.instances.get(instance)
            if found is None:
                return None
            return InstanceValues(
                incarnation=found.incarnation,
                last_commit=found.last_commit,
                values={
                    key: value for key, value in found.values.items() if keys is None or key in keys
                },
            )

    async def wait_for_work(self, wait: WorkWait) -> None:
        """Wait for work, woken by changes and by the clock."""
        lists: list[Subscribers] = []
        if wait.serves is not None:
            lists.append(self._store.turn_subscribers)
        if wait.activity_names:
            lists.append(self._store.activity_subscribers)
        await wait_until(
            lambda: self._next_work(wait),
            lists=lists,
            clock=self.clock,
            timeout=wait.timeout,
        )

    async def wait_for_change(self, wait: ChangeWait) -> InstanceState | None:
        """Wait for a change, woken by every change of the instance; return the state after it."""
        with self._store.lock:
            subscribers = self._store.change_subscribers(
                wait.instance, until_ended=wait.until_ended
            )
        await wait_until(
            lambda: self.clock.now() if self._differs(wait) else None,
            lists=(subscribers,),
            clock=self.clock,
            timeout=wait.timeout,
        )
        with self._store.lock:
            state = self._state(wait.instance)
        return state if has_changed(wait, state) else None

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        """Wait for a lost lease, woken by every change of the instances."""
        instances = {lease.instance for lease in wait.leases}
        with self._store.lock:
            subscribers = [self._store.change_subscribers(instance) for instance in instances]
        await wait_until(
            lambda: self.clock.now() if self._gone(wait) else None,
            lists=subscribers,
            clock=self.clock,
            timeout=wait.timeout,
        )
        return self._gone(wait)

    def as_management_capability(self) -> ProviderAdmin | None:
        return self._admin

    def _held_activity(self, lease: ActivityLease) -> Activity | None:
        """The activity, if the token holds its lease."""
        activity = self._store.find_activity(lease.instance, lease.activity)
        return activity if activity is not None and activity.is_held_by(lease.token) else None

    def _gone(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        with self._store.lock:
            return frozenset(lease for lease in wait.leases if self._held_activity(lease) is None)

    def _next_work(self, wait: WorkWait) -> Instant | None:
        """`now` if there is work; otherwise when time may make some ready, or None."""
        with self._store.lock:
            now = self.clock.now()
            store = self._store
            changes: list[Instant | None] = []
            if wait.serves is not None:
                store.turns.update(now)
                if store.turns.oldest(store.registered_turns(wait.serves), 1, now):
                    return now
                changes.append(store.turns.next_change(now))
            if wait.activity_names:
                store.activities.update(now)
                queues = store.registered_activities(wait.activity_names, wait.activity_tags)
                if store.activities.oldest(queues, 1, now):
                    return now
                changes.append(store.activities.next_change(now))
            return min((at for at in changes if at is not None), default=None)

    def _state(self, instance: str) -> InstanceState | None:
        found = self._store.instances.get(instance)
        return None if found is None else found.state

    def _differs(self, wait: ChangeWait) -> bool:
        with self._store.lock:
            return has_changed(wait, self._state(wait.instance))


def _ready_for(rows: Sequence[Row], unregistered_for: timedelta, now: Instant) -> list[Row]:
    """The rows that have been ready to lease for at least this long."""
    latest = now - to_microseconds(unregistered_for)
    return [
        row for row in rows if (since := row.leasable_since(now)) is not None and since <= latest
    ]
