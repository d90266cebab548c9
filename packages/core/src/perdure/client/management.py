"""The methods of the management capability, for providers that have it.

They only read. Every call checks its arguments and retries retryable errors of the storage a few
times. Data that cannot be decoded is reported, never skipped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

from perdure.client import calls
from perdure.client.any_loop import on_any_loop
from perdure.client.info import ExecutionInfo, InstanceInfo, QueueDepths, SystemMetrics
from perdure.client.page import Page
from perdure.clock import to_datetime
from perdure.contract.admin import ProviderAdmin
from perdure.contract.provider import Provider
from perdure.contract.retries import with_retries
from perdure.errors import (
    ExecutionNotFound,
    InstanceNotFound,
    InvalidInput,
    ManagementNotAvailable,
    StorageCorrupt,
)
from perdure.history import Event, decode_event
from perdure.model.details import ErrorDetails
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.hidden_payload import Payloads
from perdure.model.identifiers import check_identifier
from perdure.model.shown import shown
from perdure.records.hiding import hide_payloads
from perdure.records.history_document import ExecutionHistory, HistoryDocument
from perdure.records.instances import InstanceState, InstanceStatus
from perdure.records.queries import ExecutionState
from perdure.records.turns import StoredEvent

R = TypeVar("R")

LARGEST_PAGE = 1000
"""The largest page size, and the default."""


class ManagementClient:
    """The management half of a client."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

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
        return await self._list("list_instances_by_status", _check_status(status), page_size, token)

    @on_any_loop
    async def get_instance_info(self, instance: str) -> InstanceInfo:
        """An instance without its history; raises `InstanceNotFound`."""
        self._admin("get_instance_info")
        return _instance_info(await self._existing(instance, "get_instance_info"))

    @on_any_loop
    async def get_execution_info(self, instance: str, execution: int) -> ExecutionInfo:
        """One execution; raises `InstanceNotFound` or `ExecutionNotFound`."""
        state = await self._execution(instance, execution, "get_execution_info")
        return _execution_info(instance, state)

    @on_any_loop
    async def list_executions(self, instance: str) -> list[int]:
        """The numbers of an instance's executions, ascending; raises `InstanceNotFound`."""
        admin = self._admin("list_executions")
        await self._existing(instance, "list_executions")
        return list(await self._retried(lambda: admin.list_execution_numbers(instance)))

    @on_any_loop
    async def read_execution_history(self, instance: str, execution: int) -> list[Event]:
        """The events of an execution, oldest first; empty before its first turn.

        Raises `InstanceNotFound` or `ExecutionNotFound`, and `StorageCorrupt` if an event cannot be
        decoded, with its number. The whole history is held in memory.
        """
        admin = self._admin("read_execution_history")
        await self._execution(instance, execution, "read_execution_history")
        events: list[Event] = []
        more = True
        while more:
            after = events[-1].event_id if events else 0

            async def read_page(after: int = after) -> tuple[tuple[StoredEvent, ...], bool]:
                page = await admin.read_events(instance, execution, after=after)
                return page.events, page.more

            stored, more = await self._retried(read_page)
            events.extend(_decode(instance, execution, event) for event in stored)
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
        state = await self._existing(instance, "export_history")
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
        """The lengths of the queues of messages, activities and timers."""
        admin = self._admin("get_queue_depths")
        depths = await self._retried(admin.count_queues)
        return QueueDepths(
            orchestrator_queue=depths.orchestrator_queue,
            worker_queue=depths.worker_queue,
            timer_queue=depths.timer_queue,
        )

    async def _execution_history(
        self, instance: str, number: int, payloads: Payloads
    ) -> ExecutionHistory:
        events = await self.read_execution_history(instance, number)
        return ExecutionHistory(
            number=number, events=tuple(hide_payloads(event, payloads) for event in events)
        )

    def _admin(self, call: str) -> ProviderAdmin:
        refuse_inside_orchestration(call, "look in an activity, whose context has a client")
        admin = self._provider.as_management_capability()
        if admin is None:
            raise ManagementNotAvailable(self._provider.description)
        return admin

    async def _retried(self, call: Callable[[], Awaitable[R]]) -> R:
        return await with_retries(self._provider.clock, call)

    async def _list(
        self, call: str, status: InstanceStatus | None, page_size: int | None, token: str | None
    ) -> Page[str]:
        admin = self._admin(call)
        limit = _check_page_size(page_size)
        _check_token(token)
        page = await self._retried(
            lambda: admin.list_instances(status=status, limit=limit, token=token)
        )
        return Page(page.ids, next_token=page.next_token)

    async def _existing(self, instance: str, call: str) -> InstanceState:
        check_identifier(instance, "instance id")
        state = await calls.read(self._provider, instance)
        if state is None:
            raise InstanceNotFound(instance)
        return state

    async def _execution(self, instance: str, execution: int, call: str) -> ExecutionState:
        admin = self._admin(call)
        _check_execution(execution)
        newest = (await self._existing(instance, call)).execution
        # A number out of range is not passed on, because it may not fit the integers of the storage.
        found = (
            await self._retried(lambda: admin.read_execution(instance, execution))
            if 1 <= execution <= newest
            else None
        )
        if found is None:
            raise ExecutionNotFound(instance, execution)
        return found


def _check_status(status: InstanceStatus | str) -> InstanceStatus:
    for known in InstanceStatus:
        if isinstance(status, str) and status == known:  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
            return known
    valid = ", ".join(repr(each.value) for each in InstanceStatus)
    raise InvalidInput(
        f"status {shown(status)} is unknown; pass an InstanceStatus or one of {valid}"
    )


def _check_page_size(page_size: int | None) -> int:
    if page_size is None:
        return LARGEST_PAGE
    if not _is_integer(page_size) or not 1 <= page_size <= LARGEST_PAGE:
        raise InvalidInput(
            f"page size {shown(page_size)} is out of range; pass 1 to {LARGEST_PAGE}"
        )
    return page_size


def _check_token(token: str | None) -> None:
    if not isinstance(cast("object", token), str | None):
        raise InvalidInput(f"token {shown(token)} is not a string; pass the next_token of a page")


def _check_execution(execution: int) -> None:
    if not _is_integer(execution):
        raise InvalidInput(
            f"execution {shown(execution)} is not a number; list_executions names those that exist"
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _instance_info(state: InstanceState) -> InstanceInfo:
    return InstanceInfo(
        instance=state.instance,
        orchestration_name=state.name,
        orchestration_version=state.version,
        execution=state.execution,
        status=state.status,
        output=_output(state.instance, state.status, state.output),
        failure=_failure(state.instance, state.status, state.output),
        parent_instance=None if state.parent is None else state.parent.instance,
        created_at=to_datetime(state.created_at),
        updated_at=to_datetime(state.updated_at),
        parked=calls.parked_of(state.parked),
    )


def _execution_info(instance: str, state: ExecutionState) -> ExecutionInfo:
    completed_at = state.completed_at
    return ExecutionInfo(
        execution=state.execution,
        status=state.status,
        output=_output(instance, state.status, state.output),
        failure=_failure(instance, state.status, state.output),
        event_count=state.event_count,
        started_at=to_datetime(state.started_at),
        completed_at=None if completed_at is None else to_datetime(completed_at),
    )


def _output(instance: str, status: InstanceStatus, output: bytes | None) -> str | None:
    if status is InstanceStatus.COMPLETED:
        return calls.text_of(output, instance)
    return None


def _failure(instance: str, status: InstanceStatus, output: bytes | None) -> ErrorDetails | None:
    if status is InstanceStatus.FAILED:
        return calls.details_of(output, instance)
    return None


def _decode(instance: str, execution: int, stored: StoredEvent) -> Event:
    try:
        return decode_event(stored.number, stored.data)
    except ValueError as error:
        raise StorageCorrupt(
            f"event {stored.number} of execution {execution} of instance {instance!r} cannot be"
            f" decoded: {error}; it may come from a newer version of perdure, so upgrade this one",
            operation="read_events",
        ) from error
