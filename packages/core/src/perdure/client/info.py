"""What the management methods return: plain records of instances, executions and counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from perdure.model.details import ErrorDetails
from perdure.model.status import Parked
from perdure.records.instances import InstanceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemMetrics:
    """Counts over the namespace; running, completed and failed instances add up to the total."""

    total_instances: int
    total_executions: int
    running_instances: int
    completed_instances: int
    failed_instances: int
    total_events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepths:
    """The lengths of the queues."""

    orchestrator_queue: int
    """Visible messages of instances that no runtime has leased."""
    worker_queue: int
    """Activities that no runtime has leased."""
    timer_queue: int
    """Messages that are not visible yet."""
