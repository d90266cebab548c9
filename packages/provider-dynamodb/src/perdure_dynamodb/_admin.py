"""The management capability: looking at a namespace."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.contract import (
    ExecutionState,
    HistoryPage,
    IdPage,
    InstancePage,
    InstanceQuery,
    InstanceStatus,
    InstanceWork,
    ProviderAdmin,
    StoreMetrics,
    StoreQueueDepths,
    check_limit,
)

from perdure_dynamodb._changes import Changes
from perdure_dynamodb._counting import Counting
from perdure_dynamodb._deletion import execution_of
from perdure_dynamodb._finding import Finding
from perdure_dynamodb._histories import read_events
from perdure_dynamodb._keys import LOCK, execution_key, executions
from perdure_dynamodb._listing import list_page
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import read_payload
from perdure_dynamodb._stable_reads import always, read_stably
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import Select
from perdure_dynamodb._values import Row
from perdure_dynamodb._work_reads import WorkReads


class DynamoDBAdmin(ProviderAdmin):
    """Looks; carries out at most what a staged commit has decided already."""

    def __init__(
        self,
        namespace: Namespace,
        *,
        changes: Changes,
        staged_commits: StagedCommits,
        counting: Counting,
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._keys = namespace.keys
        self._staged = staged_commits
        self._counting = counting
        self._finding = Finding(namespace, changes)
        self._work = WorkReads(namespace, staged_commits)

    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        """A page of ids, newest first."""
        check_limit(limit)
        await self._namespace.shards.refresh()
        return await list_page(
            self._table, self._keys, self._namespace.shards, status=status, limit=limit, token=token
        )

    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        """All executions, ascending."""

        async def read(lock: Lock | None) -> Sequence[ExecutionState]:
            if lock is None:
                return ()
            first, last = executions(lock.life.tag)
            select = Select(partition=self._keys.partition(instance), first=first, last=last)
            ended = [row async for row in self._table.query_all(select)]
            states = [
                await self._ended(row)
                for row in ended
                if lock.first_execution <= execution_of(row) < lock.execution
            ]
            return (*states, await self._newest(lock))

        return await read_stably(lambda: self._lock(instance), read, again=always)

    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        """One execution, or None."""

        async def read(lock: Lock | None) -> ExecutionState | None:
            if lock is None or execution == lock.execution:
                return None if lock is None else await self._newest(lock)
            if not lock.first_execution <= execution < lock.execution:
                return None
            key = execution_key(execution, lock.life.tag)
            row = await self._table.get(self._keys.partition(instance), key)
            return None if row is None else await self._ended(row)

        return await read_stably(lambda: self._lock(instance), read, again=always)

    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        """Events of any execution, in pages."""

        async def read(lock: Lock | None) -> HistoryPage:
            if lock is None or not lock.first_execution <= execution <= lock.execution:
                return HistoryPage(events=(), more=False)
            return await read_events(self._namespace, lock, execution, after=after)

        return await read_stably(lambda: self._lock(instance), read, again=always)

    async def count_instances(self) -> StoreMetrics:
        """Instances by status, executions and events."""
        await self._namespace.shards.refresh()
        return await self._counting.instances()

    async def count_queues(self) -> StoreQueueDepths:
        """What waits to be taken."""
        await self._namespace.shards.refresh()
        return await self._counting.queues(self._namespace.now)

    async def find_instances(
        self, query: InstanceQuery, *, limit: int, token: str | None = None
    ) -> InstancePage:
        """A page of instances that meet the query, newest first."""
        check_limit(limit)
        await self._namespace.shards.refresh()
        return await self._finding.find(query, limit=limit, token=token)

    async def read_work(self, instance: str) -> InstanceWork | None:
        """What is queued for an instance, without void work."""
        return await self._work.read(instance)

    async def _lock(self, instance: str) -> Lock | None:
        row = await self._table.get(self._keys.partition(instance), LOCK)
        return None if row is None else await self._staged.finish(Lock(instance, row))

    async def _newest(self, lock: Lock) -> ExecutionState:
        row = lock.row
        return ExecutionState(
            execution=lock.execution,
            status=lock.status,
            output=await read_payload(self._table, row, "oup"),
            event_count=lock.last_event,
            started_at=row.number("sta"),
            completed_at=None if lock.running else row.number("upd"),
        )

    async def _ended(self, row: Row) -> ExecutionState:
        return ExecutionState(
            execution=execution_of(row),
            status=InstanceStatus(row.text_or_none("stat") or InstanceStatus.CONTINUED_AS_NEW),
            output=await read_payload(self._table, row, "oup"),
            event_count=row.number("evn"),
            started_at=row.number("sta"),
            completed_at=row.number("fin"),
        )
