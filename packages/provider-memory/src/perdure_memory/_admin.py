"""The management capability: reads only."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import islice

from perdure.contract import (
    Clock,
    ExecutionState,
    HistoryPage,
    IdPage,
    InstanceStatus,
    ProviderAdmin,
    StoreMetrics,
    StoreQueueDepths,
    checked_page,
    first_page,
)
from perdure.errors import InvalidInput

from perdure_memory._instances import Execution
from perdure_memory._store import Store

_TOKEN = re.compile(r"before-(0|[1-9][0-9]{0,17})\Z")


class MemoryAdmin(ProviderAdmin):
    """The management capability of a store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        if limit < 1:
            raise InvalidInput(f"a page cannot have {limit} ids; ask for 1 or more")
        with self._store.lock:
            store = self._store
            before = store.next_number if token is None else self._read_token(token)
            numbers = store.numbers if status is None else store.by_status[status]
            end = bisect_left(numbers, before)
            page = numbers[max(0, end - limit) : end]
            return IdPage(
                ids=tuple(store.created[number].state.instance for number in reversed(page)),
                next_token=f"before-{page[0]}" if end > limit else None,
            )

    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        with self._store.lock:
            found = self._store.instances.get(instance)
            return () if found is None else tuple(each.state for each in found.executions)

    async def list_execution_numbers(self, instance: str) -> Sequence[int]:
        with self._store.lock:
            found = self._store.instances.get(instance)
            return () if found is None else tuple(each.number for each in found.executions)

    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        with self._store.lock:
            found = self._find(instance, execution)
            return None if found is None else found.state

    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        with self._store.lock:
            found = self._find(instance, execution)
            if found is None:
                return HistoryPage(events=(), more=False)
            return page_of(instance, found, after)

    async def count_instances(self) -> StoreMetrics:
        with self._store.lock:
            store = self._store
            return StoreMetrics(
                total_instances=len(store.instances),
                total_executions=store.execution_count,
                running_instances=len(store.by_status[InstanceStatus.RUNNING]),
                completed_instances=len(store.by_status[InstanceStatus.COMPLETED]),
                failed_instances=len(store.by_status[InstanceStatus.FAILED]),
                total_events=store.event_count,
            )

    async def count_queues(self) -> StoreQueueDepths:
        """Looks at every running instance, because what is visible depends on the time."""
        now = self._clock.now()
        visible = later = unleased = 0
        with self._store.lock:
            for number in self._store.by_status[InstanceStatus.RUNNING]:
                instance = self._store.created[number]
                count = instance.mailbox.count_visible(now)
                later += len(instance.mailbox) - count
                visible += 0 if instance.is_leased(now) else count
                unleased += sum(not each.is_leased(now) for each in instance.activities.values())
        return StoreQueueDepths(
            orchestrator_queue=visible, worker_queue=unleased, timer_queue=later
        )

    def _read_token(self, token: str) -> int:
        match = _TOKEN.match(token)
        if match is None or int(match[1]) >= self._store.next_number:
            raise InvalidInput(
                f"page token {token!r} was not given by this provider; begin without a token"
            )
        return int(match[1])

    def _find(self, instance: str, execution: int) -> Execution | None:
        found = self._store.instances.get(instance)
        return None if found is None else found.find_execution(execution)


def page_of(instance: str, execution: Execution, after: int) -> HistoryPage:
    """One page of events after a number; raises `StorageCorrupt` if one is missing."""
    begin = max(0, after)
    events = islice(execution.events, begin, None)
    page, more = first_page(events, lambda event: len(event.data))
    return checked_page(
        instance, execution.number, page, after=begin, last=execution.event_count, more=more
    )
