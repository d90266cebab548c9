"""What the management methods return: plain records of instances, executions and counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import datetime
from typing import TypeVar

from perdure.client import calls
from perdure.clock import Instant, to_datetime
from perdure.errors import StorageCorrupt
from perdure.model.details import ErrorDetails
from perdure.model.record import record
from perdure.model.status import Parked
from perdure.records.instances import InstanceState, InstanceStatus
from perdure.records.queries import ExecutionState, StoreQueueDepths

T = TypeVar("T")


@record
class InstanceInfo:
    """An instance, as of its newest execution."""

    instance: str
    orchestration_name: str
    orchestration_version: str | None
    """None before the first turn of an instance that was started without a version."""
    execution: int
    """The number of the newest execution."""
    status: InstanceStatus
    output: str | None
    """The JSON text of its result; None unless it completed."""
    failure: ErrorDetails | None
    """Why it failed; None unless it failed."""
    parent_instance: str | None
    """The instance that started it as a sub-orchestration, or None."""
    created_at: datetime
    updated_at: datetime
    parked: Parked | None = None
    """Why it cannot continue for now, or None."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """The labels that it was started with."""
    custom_status: str | None = None
    """The JSON text of the status that the orchestration set last, or None."""
    custom_status_version: int = 0
    """The number of turns that set a custom status."""
    value_count: int = 0
    """How many values it has; `get_values` reads them."""
    damage: str | None = None
    """Why the output, the failure or the custom status cannot be read, and is None here: it is
    damaged, or encoded by a codec that this process lacks. None if all can be read."""


@record
class ExecutionInfo:
    """One execution of an instance."""

    execution: int
    """Its number, from 1."""
    status: InstanceStatus
    output: str | None
    """The JSON text of its result; None unless it completed."""
    failure: ErrorDetails | None
    """Why it failed; None unless it failed."""
    event_count: int
    started_at: datetime
    completed_at: datetime | None
    damage: str | None = None
    """Why the output or the failure cannot be read, and is None here; None if it can."""


@record
class SystemMetrics:
    """Counts over the namespace; running, completed and failed instances add up to the total."""

    total_instances: int
    total_executions: int
    running_instances: int
    completed_instances: int
    failed_instances: int
    total_events: int


@record
class QueueDepths:
    """The lengths of the queues, and since when the oldest of what waits in them does."""

    orchestrator_queue: int
    """Visible messages of instances that no runtime has leased."""
    worker_queue: int
    """Activities that no runtime has leased."""
    timer_queue: int
    """Messages that are not visible yet."""
    oldest_message: datetime | None
    """Since when the oldest message waits for a runtime; None if none does.

    A message waits while a runtime could take it: not while its instance is leased or delayed.
    """
    oldest_activity: datetime | None
    """Since when the oldest activity waits for a runtime; None if none does."""
    counted_at: datetime
    """When this was counted, by the provider's clock."""


def instance_info(state: InstanceState) -> InstanceInfo:
    """The instance for clients."""
    damages: list[str] = []
    return InstanceInfo(
        instance=state.instance,
        orchestration_name=state.name,
        orchestration_version=state.version,
        execution=state.execution,
        status=state.status,
        output=_read(lambda: _output(state.instance, state.status, state.output), damages),
        failure=_read(lambda: _failure(state.instance, state.status, state.output), damages),
        parent_instance=None if state.parent is None else state.parent.instance,
        created_at=to_datetime(state.created_at),
        updated_at=to_datetime(state.updated_at),
        parked=calls.parked_of(state.parked),
        labels=state.labels,
        custom_status=_read(lambda: calls.custom_status_of(state), damages),
        custom_status_version=state.custom_status_version,
        value_count=state.value_count,
        damage="; ".join(damages) or None,
    )


def execution_info(instance: str, state: ExecutionState) -> ExecutionInfo:
    """The execution for clients."""
    completed_at = state.completed_at
    damages: list[str] = []
    return ExecutionInfo(
        execution=state.execution,
        status=state.status,
        output=_read(lambda: _output(instance, state.status, state.output), damages),
        failure=_read(lambda: _failure(instance, state.status, state.output), damages),
        event_count=state.event_count,
        started_at=to_datetime(state.started_at),
        completed_at=None if completed_at is None else to_datetime(completed_at),
        damage="; ".join(damages) or None,
    )


def queue_depths(depths: StoreQueueDepths, now: Instant) -> QueueDepths:
    """The lengths of the queues for clients, counted now."""
    message, activity = depths.oldest_message, depths.oldest_activity
    return QueueDepths(
        orchestrator_queue=depths.orchestrator_queue,
        worker_queue=depths.worker_queue,
        timer_queue=depths.timer_queue,
        oldest_message=None if message is None else to_datetime(message),
        oldest_activity=None if activity is None else to_datetime(activity),
        counted_at=to_datetime(now),
    )


def _read(read: Callable[[], T | None], damages: list[str]) -> T | None:
    """What can be read; otherwise None, and why not in `damages`: a listing goes on with the others."""
    try:
        return read()
    except StorageCorrupt as error:
        damages.append(str(error))
        return None


def _output(instance: str, status: InstanceStatus, output: bytes | None) -> str | None:
    if status is InstanceStatus.COMPLETED:
        return calls.text_of(output, instance)
    return None


def _failure(instance: str, status: InstanceStatus, output: bytes | None) -> ErrorDetails | None:
    if status is InstanceStatus.FAILED:
        return calls.details_of(output, instance)
    return None
