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
    """The longest wait."""
    serves: Serves | None = None
    """The instances to wait for; None: none."""
    activity_names: frozenset[str] = frozenset()
    """The activities to wait for; empty: none."""
    activity_tags: frozenset[str | None] = frozenset({None})
    """The tags that the caller runs; None stands for untagged activities."""


@record
class ChangeWait:
    """A call of `wait_for_change`: what the caller last saw, and how long it waits at most."""

    instance: str
    """The id of the instance."""
    timeout: timedelta
    """The longest wait."""
    last_commit: str | None = None
    """The id of the last commit that the caller saw; None: none."""
    parked: ParkedState | None = None
    """The mark that the caller saw; None: none."""
    exists: bool = True
    """False if the caller saw no instance; `last_commit` and `parked` are None then."""
    until_ended: bool = False
    """A hint: the caller waits for the creation, the end or the parking of the instance. A provider
    may skip other commits, and may also wake the caller for them."""


@record
class CancellationWait:
    """A call of `wait_for_cancellation`: the leases of running activities, and the longest wait."""

    leases: tuple[ActivityLease, ...]
    """The leases to watch."""
    timeout: timedelta
    """The longest wait."""


@record
class ExecutionState:
    """The plain fields of one execution."""

    execution: int
    """The number of the execution, from 1."""
    status: InstanceStatus
    """How the execution stands, or how it ended."""
    output: bytes | None
    """What its end gave; None while it runs."""
    event_count: int
    """The number of events in its history."""
    started_at: Instant
    """When the instance was created, or when the commit began this execution."""
    completed_at: Instant | None
    """None while it runs."""


@record
class IdPage:
    """A page of instance ids; `next_token` is None on the last page."""

    ids: tuple[str, ...]
    """The ids, each once."""
    next_token: str | None = None
    """Continues the listing; None on the last page."""


@record
class InstanceValues:
    """Values of an instance, as its last commit left them."""

    incarnation: str
    """The incarnation that has the values."""
    last_commit: str | None
    """The id of the last commit; None before the first."""
    values: Mapping[str, bytes]
    """The values by key."""


@record
class StoreMetrics:
    """Counts over everything in the namespace; running + completed + failed = instances."""

    total_instances: int = 0
    """Instances that exist, ended ones included."""
    total_executions: int = 0
    """Their executions."""
    running_instances: int = 0
    """Instances whose status is RUNNING."""
    completed_instances: int = 0
    """Instances whose status is COMPLETED."""
    failed_instances: int = 0
    """Instances whose status is FAILED."""
    total_events: int = 0
    """The events of all executions."""


@record
class StoreQueueDepths:
    """How much work waits."""

    orchestrator_queue: int = 0
    """Visible messages of existing instances without a live lease."""
    worker_queue: int = 0
    """Activities without a live lease."""
    timer_queue: int = 0
    """Messages of existing instances that are not visible yet."""
    oldest_message: Instant | None = None
    """Since when the oldest message waits, of those that can be leased; None if there is none."""
    oldest_activity: Instant | None = None
    """Since when the oldest activity waits, of those that can be leased; None if there is none."""
