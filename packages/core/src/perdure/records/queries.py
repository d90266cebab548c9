"""Queries: waiting for work and for changes, listings and counts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from perdure.clock import Instant
from perdure.model.record import record
from perdure.records.activities import ActivityLease
from perdure.records.instances import InstanceStatus, ParkedState
from perdure.records.turns import Serves


@record
class WorkWait:
    """A call of `wait_for_work`: what the caller would lease, and how long it waits at most."""

    timeout: timedelta
    serves: Serves | None = None
    """The instances to wait for; None: none."""
    activity_names: frozenset[str] = frozenset()
    """The activities to wait for; empty: none."""
    activity_tags: frozenset[str | None] = frozenset({None})


@record
class ChangeWait:
    """A call of `wait_for_change`: what the caller last saw, and how long it waits at most."""

    instance: str
    timeout: timedelta
    last_commit: str | None = None
    parked: ParkedState | None = None
    exists: bool = True
    """False if the caller saw no instance; `last_commit` and `parked` are None then."""
    until_ended: bool = False
    """A hint: the caller waits for the creation, the end or the parking of the instance. A provider
    may skip other commits, and may also wake the caller for them."""


@record
class CancellationWait:
    """A call of `wait_for_cancellation`: the leases of running activities, and the longest wait."""

    leases: tuple[ActivityLease, ...]
    timeout: timedelta


@record
class ExecutionState:
    """The plain fields of one execution."""

    execution: int
    status: InstanceStatus
    output: bytes | None
    event_count: int
    started_at: Instant
    completed_at: Instant | None
    """None while it runs."""


@record
class IdPage:
    """A page of instance ids; `next_token` is None on the last page."""

    ids: tuple[str, ...]
    next_token: str | None = None


@record
class InstanceValues:
    """Values of an instance, as its last commit left them."""

    incarnation: str
    last_commit: str | None
    values: Mapping[str, bytes]


@record
class StoreMetrics:
    """Counts over everything in the namespace; running + completed + failed = instances."""

    total_instances: int = 0
    total_executions: int = 0
    running_instances: int = 0
    completed_instances: int = 0
    failed_instances: int = 0
    total_events: int = 0


@record
class StoreQueueDepths:
    """How much work waits.

    `orchestrator_queue`: visible messages of existing instances without a live lease.
    `worker_queue`: activities without a live lease.
    `timer_queue`: messages of existing instances that are not visible yet.
    """

    orchestrator_queue: int = 0
    worker_queue: int = 0
    timer_queue: int = 0
