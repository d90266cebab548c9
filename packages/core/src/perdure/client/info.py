"""What the management methods return: plain records of instances, executions and counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from perdure.client import calls
from perdure.clock import to_datetime
from perdure.model.details import ErrorDetails
from perdure.model.record import record
from perdure.model.status import Parked
from perdure.records.instances import InstanceState, InstanceStatus
from perdure.records.queries import ExecutionState


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
    """The lengths of the queues."""

    orchestrator_queue: int
    """Visible messages of instances that no runtime has leased."""
    worker_queue: int
    """Activities that no runtime has leased."""
    timer_queue: int
    """Messages that are not visible yet."""


def instance_info(state: InstanceState) -> InstanceInfo:
    """The instance for clients; raises `StorageCorrupt` if its output cannot be decoded."""
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
        labels=state.labels,
        custom_status=calls.custom_status_of(state),
        custom_status_version=state.custom_status_version,
        value_count=state.value_count,
    )


def execution_info(instance: str, state: ExecutionState) -> ExecutionInfo:
    """The execution for clients; raises `StorageCorrupt` if its output cannot be decoded."""
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
