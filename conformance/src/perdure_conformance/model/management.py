"""The management capability: reads the tables, changes nothing.

Keeps the clauses ADMIN-1 to ADMIN-9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from perdure.contract import (
    ExecutionState,
    HistoryPage,
    IdPage,
    InstanceStatus,
    ProviderAdmin,
    StoreMetrics,
    StoreQueueDepths,
    check_limit,
)
from perdure.errors import InvalidInput

from perdure_conformance.model.store import Store
from perdure_conformance.model.tables import InstanceRow


class Management(ProviderAdmin):
    """Reads a store; `at_present` sets its time before each read."""

    def __init__(self, at_present: Callable[[], Store]) -> None:
        self.at_present = at_present

    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        """Newest first. The token is the place of the page's last instance among all creations."""
        check_limit(limit)
        if token is not None and not (token.isascii() and token.isdecimal()):
            raise InvalidInput(
                f"the page token {token!r} is not from this provider; pass next_token unchanged"
            )
        rows = [
            row
            for row in reversed(self.at_present().tables.instances.values())
            if (token is None or row.created < int(token)) and self.has_status(row, status)
        ]
        page = rows[:limit]
        more = len(rows) > limit
        return IdPage(
            ids=tuple(row.state.instance for row in page),
            next_token=str(page[-1].created) if more else None,
        )

    def has_status(self, row: InstanceRow, status: InstanceStatus | None) -> bool:
        """Whether a listing of this status has the instance."""
        if status is InstanceStatus.CONTINUED_AS_NEW:
            executions = self.at_present().tables.executions[row.state.instance]
            return any(execution.state.status is status for execution in executions)
        return status is None or row.state.status is status

    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        """All executions, ascending."""
        rows = self.at_present().tables.executions.get(instance, [])
        return tuple(row.state for row in rows)

    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        """One execution."""
        row = self.at_present().execution_row(instance, execution)
        return None if row is None else row.state

    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        """One page of events."""
        store = self.at_present()
        row = store.execution_row(instance, execution)
        return HistoryPage(events=(), more=False) if row is None else store.page(row, after)

    async def count_instances(self) -> StoreMetrics:
        """Counts of instances, executions and events."""
        tables = self.at_present().tables
        rows = tables.instances.values()
        executions = [row for each in tables.executions.values() for row in each]
        by_status = Counter(row.state.status for row in rows)
        return StoreMetrics(
            total_instances=len(rows),
            total_executions=len(executions),
            running_instances=by_status[InstanceStatus.RUNNING],
            completed_instances=by_status[InstanceStatus.COMPLETED],
            failed_instances=by_status[InstanceStatus.FAILED],
            total_events=sum(len(row.events) for row in executions),
        )

    async def count_queues(self) -> StoreQueueDepths:
        """Counts of waiting messages and activities, and since when the oldest waits."""
        store = self.at_present()
        waiting = later = 0
        ready = filter(store.is_ready, store.tables.instances.values())
        for instance, row in store.tables.instances.items():
            entries = store.tables.mailboxes.get(instance, {}).values()
            wanted = [entry for entry in entries if not store.is_void(entry.message)]
            visible = sum(map(store.is_visible, wanted))
            later += len(wanted) - visible
            waiting += 0 if store.is_live(row.lease) else visible
        activities = [row for row in store.tables.activities.values() if store.is_wanted(row)]
        free = [row for row in activities if store.is_available(row)]
        return StoreQueueDepths(
            orchestrator_queue=waiting,
            worker_queue=sum(not store.is_live(row.lease) for row in activities),
            timer_queue=later,
            oldest_message=min(
                (store.free_since(row, store.waiting_since(row)[0]) for row in ready), default=None
            ),
            oldest_activity=min((store.free_since(row, row.due) for row in free), default=None),
        )
