"""The provider: the contract's methods, each handed to the part that keeps its promise.

A call that changes something runs in a task of its own, and a cancellation of the caller waits
for it: so a call took effect as a whole or not at all, and no connection is torn down in the
middle of an answer. A cancelled lease gives back what it got.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

from perdure.clock import Clock, Instant, to_microseconds
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
    CommitAnswer,
    HistoryPage,
    InstanceReopening,
    InstanceState,
    InstanceStatus,
    InstanceTermination,
    InstanceValues,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewInstance,
    Provider,
    ProviderAdmin,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
    check_commit,
    check_delay,
    check_lease,
    check_limit,
    check_reopening,
)
from perdure.errors import (
    ExecutionNotFound,
    InstanceAlreadyExists,
    InstanceNotFound,
    PerdureError,
    ProviderError,
    StorageUnavailable,
)

from perdure_dynamodb._activities import Activities
from perdure_dynamodb._activity_looks import ActivityLooks
from perdure_dynamodb._activity_memory import ActivityMemory
from perdure_dynamodb._admin import DynamoDBAdmin
from perdure_dynamodb._arrivals import Arrivals
from perdure_dynamodb._change_kinds import FenceFailed
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._commits import FINISH_LIMIT, Commits
from perdure_dynamodb._counting import Counting
from perdure_dynamodb._deletion import Deletion
from perdure_dynamodb._early_events import EarlyEvents
from perdure_dynamodb._heartbeats import Heartbeats
from perdure_dynamodb._histories import read_events
from perdure_dynamodb._ids_in_use import IdsInUse
from perdure_dynamodb._instance_reads import InstanceValueReads, read_state
from perdure_dynamodb._keys import Keys
from perdure_dynamodb._lease_memory import BoundedMemory, LeaseMemory
from perdure_dynamodb._litter import Litter
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._namespace_deletion import NamespaceDeletion
from perdure_dynamodb._payloads import ChunkBuffer
from perdure_dynamodb._purge import Purge
from perdure_dynamodb._removal import Removal
from perdure_dynamodb._reopening import Reopening
from perdure_dynamodb._sending import Sending
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._signals import Signals
from perdure_dynamodb._stable_reads import read_stably, where_incomplete
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import Table
from perdure_dynamodb._turn_leases import TurnLeases
from perdure_dynamodb._turns import Turns
from perdure_dynamodb._watching import Watching

T = TypeVar("T")

_BETWEEN_LOOKS = timedelta(seconds=5)
"""How often a wait for cancellations looks before it is over."""
_TO_GIVE_BACK = 5.0
"""Real seconds that a cancelled lease waits for the store to take its leases back."""


class DynamoDBProvider(Provider):
    """One namespace of one table."""

    capabilities = frozenset({DELETION, LISTING, RECOVERY, VALUES})
    finish_limit = FINISH_LIMIT
    tells_of_changes = True
    tells_of_cancellations = True

    def __init__(
        self, table: Table, keys: Keys, *, clock: Clock, shards: Shards, description: str
    ) -> None:
        super().__init__(clock=clock, description=description)
        arrivals = Arrivals(clock, shards)
        self._namespace = Namespace(table, keys, clock, shards, arrivals, Purge(table, keys))
        self._table = table
        self._keys = keys
        removal = Removal(self._namespace)
        signals = Signals(self._namespace, removal)
        self._changes = Changes(self._namespace, signals)
        ids_in_use = IdsInUse(self._namespace)
        self._litter = Litter(self._namespace, removal)
        self._staged = StagedCommits(self._namespace, self._changes, ids_in_use, self._litter)
        memory, activity_memory = LeaseMemory(), ActivityMemory()
        self._sending = Sending(self._namespace, self._changes, signals, self._litter)
        self._activities = Activities(
            self._namespace,
            changes=self._changes,
            staged_commits=self._staged,
            memory=activity_memory,
            litter=self._litter,
        )
        self._activity_looks = ActivityLooks(
            self._namespace,
            changes=self._changes,
            staged_commits=self._staged,
            activities=self._activities,
            memory=activity_memory,
        )
        self._heartbeats = Heartbeats(
            self._namespace,
            changes=self._changes,
            staged_commits=self._staged,
            memory=activity_memory,
        )
        self._leases = TurnLeases(self._namespace, memory)
        self._turns = Turns(
            self._namespace,
            changes=self._changes,
            signals=signals,
            staged_commits=self._staged,
            leases=self._leases,
            memory=memory,
        )
        self._commits = Commits(
            self._namespace,
            changes=self._changes,
            staged_commits=self._staged,
            activities=self._activities,
            leases=self._leases,
            memory=memory,
            ids_in_use=ids_in_use,
            litter=self._litter,
        )
        self._reopening = Reopening(
            self._namespace,
            changes=self._changes,
            staged_commits=self._staged,
            litter=self._litter,
        )
        self._deletion = Deletion(
            self._namespace,
            changes=self._changes,
            staged_commits=self._staged,
            litter=self._litter,
            removal=removal,
        )
        self._values = InstanceValueReads(self._namespace, self._staged)
        self._early_events = EarlyEvents(self._namespace)
        self._namespace_deletion = NamespaceDeletion(self._namespace)
        self._memory = memory
        self._changed_here: BoundedMemory[str, None] = BoundedMemory()
        """Instances whose leases a call of this process may have ended, until that is looked for."""
        self._watching = Watching(self._changes, clock=clock, runs_here=memory.holds)
        self._admin = DynamoDBAdmin(
            self._namespace,
            changes=self._changes,
            staged_commits=self._staged,
            counting=Counting(self._namespace, self._changes),
        )

    @property
    def table(self) -> Table:
        """Its way to DynamoDB, for tests of what requests can suffer."""
        return self._table

    def read_usage(self) -> Mapping[str, float]:
        """Requests, repeats and read units of looks since it was opened."""
        return self._table.usage.read()

    async def open(self) -> None:
        """Learn what was stamped before, so that no stamp goes back."""
        self._namespace.arrivals.raise_to(await self._sending.newest_stamp())

    async def close(self) -> None:
        """Wait for what goes on in the background."""
        await self._watching.close()
        await self._staged.close()
        await self._namespace.purge.close()

    async def create_instance(self, new: NewInstance) -> None:
        """Create an instance together with its start message, maybe in place of an ended one."""
        if new.replaces is None:
            await _whole("create_instance", self._create(new))
        else:
            await _whole("create_instance", self._deletion.replace(new))
            self._tell_of_change(new.instance)

    async def send(self, messages: Sequence[Message]) -> None:
        """Put messages into mailboxes."""
        await _whole("send", self._sending.send(tuple(messages)))

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        """Lease ready instances."""
        check_lease("lease_for", request.lease_for)
        check_limit(request.limit)
        begun: set[TurnLease] = set()
        self._litter.look_now_and_then()
        return await _whole(
            "lease_turns",
            self._turns.lease(request, begun),
            undo=lambda: self._leases.give_back(begun),
        )

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        """A page of an execution's events."""
        return await _named(
            "read_history", self._read_history(instance, execution, incarnation, after)
        )

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        """Carry a turn's changes out, all or nothing."""
        check_commit(commit, finish_limit=self.finish_limit)
        answer = await _whole("commit_turn", self._commits.commit(commit))
        self._watching.committed(commit.instance, commit.id, continues=_continues(commit))
        return answer

    async def release_turn(self, release: TurnRelease) -> None:
        """Give a turn lease back."""
        check_delay(release.delay)
        await _whole("release_turn", self._leases.release(release))

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        """Extend turn leases; returns those that are gone."""
        check_lease("lease_for", lease_for)
        return await _whole("renew_turns", self._leases.renew(tuple(leases), lease_for=lease_for))

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        """Lease activities."""
        check_lease("lease_for", request.lease_for)
        check_limit(request.limit)
        begun: set[ActivityLease] = set()
        return await _whole(
            "lease_activities",
            self._activity_looks.lease(request, begun),
            undo=lambda: self._activities.give_back(begun),
        )

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        """Remove an activity and post its result, as one."""
        await _whole("complete_activity", self._activities.complete(completion))

    async def release_activity(self, release: ActivityRelease) -> None:
        """Give an activity lease back."""
        check_delay(release.delay)
        await _whole("release_activity", self._activities.release(release))
        if release.parked is not None:
            self._watching.marked(release.lease.instance)

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        """Extend activity leases; returns those that are gone."""
        check_lease("lease_for", lease_for)
        return await _whole(
            "renew_activities", self._heartbeats.renew(tuple(leases), lease_for=lease_for)
        )

    async def read_values(
        self, instance: str, *, keys: frozenset[str] | None = None
    ) -> InstanceValues | None:
        """The values of an instance, as its last commit left them."""
        return await _named("read_values", self._values.read(instance, keys))

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        """Those of the leases that are gone, seen within five seconds, and when the timeout is over.

        Where this process has changed the instance by a call that needs no lease, seen at once.
        """
        end = self.clock.now() + to_microseconds(wait.timeout)
        instances = {lease.instance for lease in wait.leases}
        while True:
            if instances.isdisjoint(self._changed_here):
                left = timedelta(microseconds=max(0, end - self.clock.now()))
                await self.clock.sleep(min(left, _BETWEEN_LOOKS))
            for instance in instances:
                self._changed_here.pop(instance, None)
            gone = await _named("wait_for_cancellation", self._heartbeats.gone(wait.leases))
            if gone or self.clock.now() >= end:
                return gone

    async def wait_for_change(self, wait: ChangeWait) -> None:
        """Return when the instance differs from what was seen, or after the timeout."""
        await self._watching.wait(wait)

    async def read_instance(self, instance: str) -> InstanceState | None:
        """The plain fields of an instance, or None."""
        return await _named("read_instance", self._read_instance(instance))

    async def reopen_instance(self, reopening: InstanceReopening) -> None:
        """Begin the next execution of an instance."""
        check_reopening(reopening)
        await _whole("reopen_instance", self._reopening.reopen(reopening))
        self._tell_of_change(reopening.instance)

    async def terminate_instance(self, termination: InstanceTermination) -> bool:
        """End a running instance as Failed."""
        is_terminated = await _whole("terminate_instance", self._commits.terminate(termination))
        self._tell_of_change(termination.instance)
        return is_terminated

    async def delete_instance(self, instance: str, *, incarnation: str) -> bool:
        """Delete an ended instance and all that belongs to it."""
        self._litter.look_now_and_then()
        is_deleted = await _whole("delete_instance", self._deletion.delete(instance, incarnation))
        self._tell_of_change(instance)
        return is_deleted

    async def prune_executions(self, instance: str, *, incarnation: str, before: int) -> int:
        """Delete earlier executions of an instance."""
        self._litter.look_now_and_then()
        return await _whole(
            "prune_executions", self._deletion.prune(instance, incarnation, before=before)
        )

    async def delete_early_events(
        self, instance: str | None, *, arrived_before: Instant | None = None, limit: int
    ) -> int:
        """Delete events that wait for instances which do not exist."""
        check_limit(limit)
        return await _whole(
            "delete_early_events",
            self._early_events.delete(instance, arrived_before=arrived_before, limit=limit),
        )

    async def delete_namespace(self) -> None:
        """Delete everything in the namespace but its settings."""
        await _whole("delete_namespace", self._namespace_deletion.delete())

    def as_management_capability(self) -> ProviderAdmin:
        """The management face."""
        return self._admin

    def _tell_of_change(self, instance: str) -> None:
        """Let those who wait in this process look, though it ran the instance until now."""
        self._memory.drop(instance)
        self._changed_here[instance] = None
        self._watching.wake(instance)

    async def _create(self, new: NewInstance) -> None:
        buffer = ChunkBuffer.empty()
        create = self._changes.create(new, buffer, now=self.clock.now())
        marks = await self._litter.mark(new.instance, buffer)
        await buffer.write(self._table)
        try:
            outcome = await self._changes.carry_out([create], fence=lambda _: marks)
        except FenceFailed:
            await self._litter.drop(buffer, marks)
            raise StorageUnavailable(
                "the payload was written too long ago; try again", operation="create_instance"
            ) from None
        self._namespace.purge.chunks(outcome.unused)
        if outcome.in_use:
            raise InstanceAlreadyExists(new.instance)

    async def _read_instance(self, instance: str) -> InstanceState | None:
        async def read(lock: Lock | None) -> InstanceState | None:
            if lock is None:
                return None
            return await read_state(self._table, lock)

        return await read_stably(lambda: self._lock(instance), read, again=where_incomplete)

    async def _read_history(
        self, instance: str, execution: int, incarnation: str, after: int
    ) -> HistoryPage:
        async def find() -> Lock | None:
            lock = await self._lock(instance)
            return None if lock is None else await self._staged.finish(lock)

        async def read(lock: Lock | None) -> HistoryPage:
            if lock is None or lock.incarnation != incarnation:
                raise InstanceNotFound(instance)
            if not lock.first_execution <= execution <= lock.execution:
                raise ExecutionNotFound(instance, execution)
            return await read_events(self._namespace, lock, execution, after=after)

        # The lock item says how many events the current execution has.
        return await read_stably(
            find, read, again=lambda lock: lock is not None and lock.execution != execution
        )

    async def _lock(self, instance: str) -> Lock | None:
        row = await self._table.get(*self._namespace.lock_key(instance))
        return None if row is None else Lock(instance, row)


async def _named(operation: str, work: Coroutine[object, object, T]) -> T:
    """Name the contract's method in an error, whatever part of the work met it."""
    try:
        return await work
    except ProviderError as error:
        error.operation = operation
        raise


async def _whole(
    operation: str,
    work: Coroutine[object, object, T],
    *,
    undo: Callable[[], Coroutine[object, object, None]] | None = None,
) -> T:
    """The result; a cancellation waits until the work is done, and undone where it can be."""
    task = asyncio.ensure_future(_named(operation, work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Only so long: at a shutdown the storage may be gone.
        await asyncio.wait([asyncio.ensure_future(_end(task, undo))], timeout=_TO_GIVE_BACK)
        raise


async def _end(
    task: asyncio.Future[T], undo: Callable[[], Coroutine[object, object, None]] | None
) -> None:
    with suppress(PerdureError):  # the caller has gone; an answer that refuses is as good as any
        await task
    if undo is not None:
        with suppress(ProviderError):
            await undo()


def _continues(commit: TurnCommit) -> bool:
    """Whether the instance runs on after the commit."""
    return commit.end is None or commit.end.status is InstanceStatus.CONTINUED_AS_NEW
