"""What the management methods return: plain records of instances, executions and counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from perdure.model.status import Parked
from perdure.records.instances import InstanceStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceInfo:
    """An instance, as of its newest execution."""

    instance_id: str
    orchestration_name: str
    orchestration_version: str | None
    """None until it first runs, where it was not started under a version."""
    current_execution_id: int
    status: InstanceStatus
    output: str | None
    """JSON text where it completed, the message where it failed, else None."""
    parent_instance_id: str | None
    """Who started it as a sub-orchestration; None where nobody did."""
    created_at: datetime
    updated_at: datetime
    parked: Parked | None = None
    """Why it does not move for now, where that is so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionInfo:
    """One execution of an instance."""

    execution_id: int
    status: InstanceStatus
    output: str | None
    """JSON text where it completed, the message where it failed, else None."""
    event_count: int
    started_at: datetime
    completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemMetrics:
    """Counts over the namespace; running, completed and failed add up to the total."""

    total_instances: int
    total_executions: int
    running_instances: int
    completed_instances: int
    failed_instances: int
    total_events: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepths:
    """How much waits to be taken."""

    orchestrator_queue: int
    """Visible messages of existing instances that nobody runs."""
    worker_queue: int
    """Activities that nobody runs."""
    timer_queue: int
    """Messages that are not visible yet."""
