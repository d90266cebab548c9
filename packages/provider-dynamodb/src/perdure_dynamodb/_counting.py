"""Counts over a namespace, from the index and without a scan of the table.

Ended instances carry their number of events in the index, where some twenty of them cost half a
unit to read. What can only be known from the lock items (the events of running instances, and
whether a message's instance is leased) is read from these, at a unit each. So what is running or
waiting costs most of a count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeAlias

from perdure.clock import Instant
from perdure.contract import InstanceStatus, StoreMetrics, StoreQueueDepths, is_in_force

from perdure_dynamodb._changes import Changes
from perdure_dynamodb._keys import Keys, is_leased, ready_time
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._table import READ_BATCH, Select, Table
from perdure_dynamodb._values import Row

QueueName: TypeAlias = Callable[[int], str]

AT_A_TIME = 10 * READ_BATCH


class Counting:
    """Counts what one namespace holds."""

    def __init__(self, table: Table, keys: Keys, shards: Shards, changes: Changes) -> None:
        self._table = table
        self._keys = keys
        self._shards = shards
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
                executions += lock.execution
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
        """What waits to be taken."""
        visible = timed = work = 0
        # Early events come into the queue of turns only when their instance is first leased.
        async for rows, locks in self._queued(self._keys.turns, self._keys.waiting):
            for row in rows:
                lock = locks.get(self._keys.instance_of(row.text("pk")))
                if lock is None or lock.validity.voids(row) or row.text("sk")[:2] != "M#":
                    continue
                if _is_due(row, now):
                    visible += not is_in_force(lock.until, now)
                else:
                    timed += 1
        async for rows, locks in self._queued(self._keys.work):
            for row in rows:
                lock = locks.get(self._keys.instance_of(row.text("pk")))
                work += (
                    lock is not None and not lock.validity.voids(row) and not _is_leased(row, now)
                )
        return StoreQueueDepths(orchestrator_queue=visible, worker_queue=work, timer_queue=timed)

    async def _queued(
        self, *queues: QueueName
    ) -> AsyncGenerator[tuple[Sequence[Row], dict[str, Lock]]]:
        for partition in [queue(shard) for queue in queues for shard in self._shards.all]:
            select = Select(partition=partition, index=True)
            async for rows in _chunked(self._table.query_all(select)):
                yield rows, await self._locks(rows)

    async def _locks_of(self, rows: AsyncGenerator[Row]) -> AsyncGenerator[Sequence[Lock]]:
        async for some in _chunked(rows):
            yield list((await self._locks(some)).values())

    async def _locks(self, rows: Sequence[Row]) -> dict[str, Lock]:
        instances = dict.fromkeys(self._keys.instance_of(row.text("pk")) for row in rows)
        return await self._changes.read_sound_locks(tuple(instances))

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


def _is_due(row: Row, now: Instant) -> bool:
    place = row.text("gsk")
    return place[0] == "a" or int(place[1:21]) <= now


def _is_leased(row: Row, now: Instant) -> bool:
    place = row.text("gsk")
    return is_leased(place) and is_in_force(ready_time(place), now)
