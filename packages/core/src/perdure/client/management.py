"""The methods of the management capability, for providers that have it.

They only read. Every call checks its arguments and retries retryable errors of the storage a few
times. Data that cannot be decoded is reported, never skipped.
"""

from __future__ import annotations

from perdure.client.any_loop import on_any_loop
from perdure.client.arguments import (
    check_count,
    check_execution,
    check_page_size,
    check_status,
    check_token,
)
from perdure.client.histories import decode_stored
from perdure.client.info import (
    ExecutionInfo,
    InstanceInfo,
    QueueDepths,
    SystemMetrics,
    execution_info,
    instance_info,
    queue_depths,
)
from perdure.client.page import Page
from perdure.client.part import ClientPart
from perdure.errors import ExecutionNotFound, InvalidInput
from perdure.history import Event
from perdure.model.hidden_payload import Payloads
from perdure.model.shown import shown
from perdure.records.hiding import hide_payloads
from perdure.records.history_document import ExecutionHistory, HistoryDocument
from perdure.records.instances import InstanceStatus
from perdure.records.queries import ExecutionState
from perdure.records.turns import StoredEvent

_BEYOND_ALL_EVENTS = 1_000_000_000
"""More may not fit the integers of a storage."""


class ManagementClient(ClientPart):
    """The methods that read what the management capability shows."""

    def has_management_capability(self) -> bool:
        """Whether the provider has the management capability; if not, the methods below raise."""
        return self._provider.as_management_capability() is not None

    @on_any_loop
    async def list_all_instances(
        self, page_size: int | None = None, token: str | None = None
    ) -> Page[str]:
        """A page of instance ids, newest first.

        `page_size` is 1 to 1000, by default 1000; `token` is the `next_token` of the previous page.
        Raises `InvalidInput` for a size out of range or an unknown token, and
        `ManagementNotAvailable` if the provider lacks the capability, as all methods here do.
        """
        return await self._list("list_all_instances", None, page_size, token)

    @on_any_loop
    async def list_instances_by_status(
        self,
        status: InstanceStatus | str,
        page_size: int | None = None,
        token: str | None = None,
    ) -> Page[str]:
        """A page of the ids of the instances with this status, newest first.

        `status` is an `InstanceStatus` or its value: `Running`, `Completed`, `Failed`, or
        `ContinuedAsNew` for instances with any execution that ended like that.
        Raises `InvalidInput` as `list_all_instances` does, and for another status.
        """
        return await self._list("list_instances_by_status", check_status(status), page_size, token)

    @on_any_loop
    async def get_instance_info(self, instance: str) -> InstanceInfo:
        """An instance without its history; raises `InstanceNotFound`."""
        self._admin("get_instance_info")
        return instance_info(await self._existing(instance))

    @on_any_loop
    async def get_execution_info(self, instance: str, execution: int) -> ExecutionInfo:
        """One execution; raises `InstanceNotFound` or `ExecutionNotFound`."""
        state = await self._execution(instance, execution, "get_execution_info")
        return execution_info(instance, state)

    @on_any_loop
    async def list_executions(self, instance: str) -> list[int]:
        """The numbers of an instance's executions, ascending; raises `InstanceNotFound`."""
        admin = self._admin("list_executions")
        await self._existing(instance)
        return list(await self._retried(lambda: admin.list_execution_numbers(instance)))

    @on_any_loop
    async def read_execution_history(
        self, instance: str, execution: int, *, after: int = 0
    ) -> list[Event]:
        """The events of an execution with numbers above `after`, oldest first; empty before its first turn.

        To follow an execution, pass the number of the last event that you have. Raises `InstanceNotFound` or `ExecutionNotFound`, and `StorageCorrupt` if an event cannot be
        decoded, with its number. All that is read is held in memory.
        """
        admin = self._admin("read_execution_history")
        await self._execution(instance, execution, "read_execution_history")
        last = min(check_count(after, "after", least=0), _BEYOND_ALL_EVENTS)
        events: list[Event] = []
        more = True
        while more:
            last = events[-1].event_id if events else last

            async def read_page(after: int = last) -> tuple[tuple[StoredEvent, ...], bool]:
                page = await admin.read_events(instance, execution, after=after)
                return page.events, page.more

            stored, more = await self._retried(read_page)
            events.extend(decode_stored(instance, execution, event) for event in stored)
        return events

    @on_any_loop
    async def export_history(
        self, instance: str, *, payloads: Payloads = "full"
    ) -> HistoryDocument:
        """An instance with the histories of all its executions, to keep as JSON text.

        With `payloads="hash"` a hash stands for each payload and for the text of each error, with
        `"none"` nothing is told of them. Names, ids, tags and retry policies are always there.
        `perdure.testing.check_history` replays it against code. Raises as
        `read_execution_history` does.
        """
        self._admin("export_history")
        if payloads not in ("full", "hash", "none"):
            raise InvalidInput(f'payloads {shown(payloads)}; pass "full", "hash" or "none"')
        state = await self._existing(instance)
        numbers = await self.list_executions(instance)
        return HistoryDocument(
            instance=instance,
            orchestration=state.name,
            status=state.status,
            payloads=payloads,
            executions=tuple(
                [await self._execution_history(instance, number, payloads) for number in numbers]
            ),
        )

    @on_any_loop
    async def get_system_metrics(self) -> SystemMetrics:
        """Counts of instances, executions and events."""
        admin = self._admin("get_system_metrics")
        counts = await self._retried(admin.count_instances)
        return SystemMetrics(
            total_instances=counts.total_instances,
            total_executions=counts.total_executions,
            running_instances=counts.running_instances,
            completed_instances=counts.completed_instances,
            failed_instances=counts.failed_instances,
            total_events=counts.total_events,
        )

    @on_any_loop
    async def get_queue_depths(self) -> QueueDepths:
        """The lengths of the queues of messages, activities and timers, and since when the oldest
        message and the oldest activity wait."""
        admin = self._admin("get_queue_depths")
        depths = await self._retried(admin.count_queues)
        return queue_depths(depths, self._provider.clock.now())

    async def _execution_history(
        self, instance: str, number: int, payloads: Payloads
    ) -> ExecutionHistory:
        events = await self.read_execution_history(instance, number)
        return ExecutionHistory(
            number=number, events=tuple(hide_payloads(event, payloads) for event in events)
        )

    async def _list(
        self, call: str, status: InstanceStatus | None, page_size: int | None, token: str | None
    ) -> Page[str]:
        admin = self._admin(call)
        limit = check_page_size(page_size)
        check_token(token)
        page = await self._retried(
            lambda: admin.list_instances(status=status, limit=limit, token=token)
        )
        return Page(page.ids, next_token=page.next_token)

    async def _execution(self, instance: str, execution: int, call: str) -> ExecutionState:
        admin = self._admin(call)
        check_execution(execution)
        newest = (await self._existing(instance)).execution
        # A number out of range is not passed on, because it may not fit the integers of the storage.
        found = (
            await self._retried(lambda: admin.read_execution(instance, execution))
            if 1 <= execution <= newest
            else None
        )
        if found is None:
            raise ExecutionNotFound(instance, execution)
        return found
