"""The management capability of a storage whose payloads are encoded."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.codecs.records import RecordDecoder
from perdure.contract.admin import ProviderAdmin
from perdure.records.instances import InstanceStatus
from perdure.records.listing import InstancePage, InstanceQuery, InstanceWork
from perdure.records.queries import ExecutionState, IdPage, StoreMetrics, StoreQueueDepths
from perdure.records.turns import HistoryPage


class DecodingAdmin(ProviderAdmin):
    """Decodes what the management of the wrapped provider returns."""

    def __init__(self, inner: ProviderAdmin, decoder: RecordDecoder) -> None:
        self._inner = inner
        self._decoder = decoder

    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        return await self._inner.list_instances(status=status, limit=limit, token=token)

    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        return [
            self._decoder.execution(state) for state in await self._inner.list_executions(instance)
        ]

    async def list_execution_numbers(self, instance: str) -> Sequence[int]:
        return await self._inner.list_execution_numbers(instance)

    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        state = await self._inner.read_execution(instance, execution)
        return None if state is None else self._decoder.execution(state)

    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        return self._decoder.history(
            await self._inner.read_events(instance, execution, after=after)
        )

    async def count_instances(self) -> StoreMetrics:
        return await self._inner.count_instances()

    async def count_queues(self) -> StoreQueueDepths:
        return await self._inner.count_queues()

    async def find_instances(
        self, query: InstanceQuery, *, limit: int, token: str | None = None
    ) -> InstancePage:
        return self._decoder.instances(
            await self._inner.find_instances(query, limit=limit, token=token)
        )

    async def read_work(self, instance: str) -> InstanceWork | None:
        work = await self._inner.read_work(instance)
        return None if work is None else self._decoder.work(work)
