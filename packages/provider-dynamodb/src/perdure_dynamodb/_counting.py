"""Counts over a namespace, from the index and without a scan of the table.

Ended instances carry their number of events in the index, where some twenty of them cost half a
unit to read. What can only be known from the lock items (the events of running instances) is read
from these, at half a unit each. Of an instance that waits in a queue the mailbox is read, too, unless
nothing has happened to it since its creation: then it has its start message, and what came before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from perdure.clock import Instant
from perdure.contract import InstanceStatus, StoreMetrics, StoreQueueDepths, is_in_force

from perdure_dynamodb._changes import Changes
from perdure_dynamodb._keys import EARLY_MARKER, is_leased, is_reminder, ready_time
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._messages import is_visible, read_mailbox, visible_since
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._table import READ_BATCH, Select
from perdure_dynamodb._values import Row

QueueName: TypeAlias = Callable[[int], str]

AT_A_TIME = 10 * READ_BATCH


@dataclass(slots=True)
class _Waiting:
    """What waits."""

    count: int = 0
    oldest: Instant | None = None
    """Since when the oldest waits, of those that can be leased."""

    def add(self, *, since: Instant | None) -> None:
        """Count one, which can be leased since then, or not yet."""
        self.count += 1
        if since is not None:
            self.oldest = since if self.oldest is None else min(self.oldest, since)


class Counting:
    """Counts what one namespace holds."""

    def __init__(self, namespace: Namespace, changes: Changes) -> None:
        self._table = namespace.table
        self._keys = namespace.keys
        self._shards = namespace.shards
        self._changes = changes

    async def instances(self) -> StoreMetrics:
        """Instances by status, executions and events."""
        counts: Counter[InstanceStatus] = Counter()
        executions = events = 0
        # Those that run come first: one that ends meanwhile is met there, or among the ended.
        counted: set[str] = set()
        async for locks in self._locks_of(self._listed(InstanceStatus.RUNNING)):
            counted |= {lock.instance for lock in locks}
            for lock in locks:
                counts[lock.status] += 1
                executions += lock.execution - lock.first_execution + 1
                events += lock.row.number("tev") + lock.last_event
        for status in (InstanceStatus.COMPLETED, InstanceStatus.FAILED):
            async for row in self._listed(status):
                if self._keys.instance_of(row.text("pk")) not in counted:
                    counts[status] += 1
                    executions += row.number_or_none("exe") or 1
                    events += row.number("tev")
        running = counts[InstanceStatus.RUNNING]
        completed = counts[InstanceStatus.COMPLETED]
        failed = counts[InstanceStatus.FAILED]
        return StoreMetrics(
            total_instances=running + completed + failed,
            total_executions=executions,
            running_instances=running,
            completed_instances=completed,
            failed_instances=failed,
            total_events=events,
        )

    async def queues(self, now: Instant) -> StoreQueueDepths:
        """What waits to be taken, and since when the oldest of it does.

        Since when is in the index: a release moves an activity, and a lease or a delay that ran out
        has left it at its end.
        """
        waiting, timed = await self._messages(now)
        work = _Waiting()
        async for rows in self._queued(self._keys.work):
            free = [row for row in rows if not _is_leased(row, now)]
            locks = await self._locks(free)
            for row in free:
                lock = locks.get(self._keys.instance_of(row.text("pk")))
                if lock is not None and not lock.validity.voids(row):
                    work.add(since=_ready_since(row, now))
        return StoreQueueDepths(
            orchestrator_queue=waiting.count,
            worker_queue=work.count,
            timer_queue=timed,
            oldest_message=waiting.oldest,
            oldest_activity=work.oldest,
        )

    async def _messages(self, now: Instant) -> tuple[_Waiting, int]:
        """Those that are visible, of instances that are not leased; and how many are due later.

        The queue tells the instances that are not leased and may have visible messages, whose
        mailboxes are read, and each message that is due later.
        """
        visible, timed = _Waiting(), 0
        counted: set[str] = set()
        # Early events come into the queue of turns only when their instance is first leased.
        async for rows in self._queued(self._keys.waiting, self._keys.turns):
            wanted = [row for row in rows if not _is_leased(row, now)]
            locks = await self._locks(wanted)
            for row in wanted:
                instance = self._keys.instance_of(row.text("pk"))
                lock = locks.get(instance)
                if lock is None or not lock.running:
                    continue
                if _is_due_later(row, now):
                    timed += not lock.validity.voids(row)
                elif lock.is_untouched:
                    # The instance's own row stands for the start message; others have one each.
                    if row.text("sk") != EARLY_MARKER:
                        visible.add(since=_ready_since(row, now))
                elif instance not in counted and not is_in_force(lock.until, now):
                    counted.add(instance)
                    for since in await self._visible_in(lock, now):
                        visible.add(since=lock.free_since(since, now))
        return visible, timed

    async def _visible_in(self, lock: Lock, now: Instant) -> list[Instant]:
        """Since when each message of a mailbox is visible, of those that are."""
        partition = self._keys.partition(lock.instance)
        rows = await read_mailbox(self._table, partition, consistent=False)
        return [
            visible_since(row)
            for row in rows
            if not lock.validity.voids(row) and is_visible(row, now)
        ]

    async def _queued(self, *queues: QueueName) -> AsyncGenerator[Sequence[Row]]:
        for partition in [queue(shard) for queue in queues for shard in self._shards.all]:
            select = Select(partition=partition, index=True)
            async for rows in _chunked(self._table.query_all(select)):
                yield rows

    async def _locks_of(self, rows: AsyncGenerator[Row]) -> AsyncGenerator[Sequence[Lock]]:
        async for some in _chunked(rows):
            yield list((await self._locks(some)).values())

    async def _locks(self, rows: Sequence[Row]) -> dict[str, Lock]:
        instances = dict.fromkeys(self._keys.instance_of(row.text("pk")) for row in rows)
        return await self._changes.read_sound_locks(tuple(instances), consistent=False)

    async def _listed(self, status: InstanceStatus) -> AsyncGenerator[Row]:
        for shard in self._shards.all:
            select = Select(partition=self._keys.listing(status.value, shard), index=True)
            async for row in self._table.query_all(select):
                yield row


async def _chunked(rows: AsyncGenerator[Row]) -> AsyncGenerator[Sequence[Row]]:
    some: list[Row] = []
    async for row in rows:
        some.append(row)
        if len(some) == AT_A_TIME:
            yield some
            some = []
    if some:
        yield some


def _is_due_later(row: Row, now: Instant) -> bool:
    """Whether a row tells of a message that is not visible yet."""
    place = row.text("gsk").rpartition("#")[2]
    is_timed = place[0] == "t" and not is_reminder(place)
    return row.text("sk")[:2] == "M#" and is_timed and ready_time(place) > now


def _ready_since(row: Row, now: Instant) -> Instant | None:
    """Since when what a row tells of can be leased; None if it cannot be yet."""
    since = ready_time(row.text("gsk"))
    return since if since <= now else None


def _is_leased(row: Row, now: Instant) -> bool:
    place = row.text("gsk")
    return is_leased(place) and is_in_force(ready_time(place), now)
