"""What a runtime tells its observers: the events of the hook `perdure_observe`.

The runtime sends them after the fact, in its event loop. They are no substitute for the history:
an observer gets no past events, and a process that is killed may not have sent its last ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TypeAlias

from perdure.clock import Instant
from perdure.history import CopiedFrom
from perdure.model.details import ErrorDetails
from perdure.model.record import record
from perdure.records.instances import InstanceStatus, ParentLink


@record
class TurnCommitted:
    """A turn was committed."""

    at: Instant
    instance: str
    execution: int
    orchestration: str
    version: str
    events: int
    """How many events the history gained."""
    turn_time: timedelta
    """How long the orchestration's code and the engine took, in real time."""
    commit_time: timedelta
    """How long the storage took, in real time."""


@record
class ExecutionEnded:
    """An execution ended; with CONTINUED_AS_NEW the instance goes on."""

    at: Instant
    instance: str
    execution: int
    orchestration: str
    status: InstanceStatus
    incarnation: str
    version: str
    started_at: Instant | None
    """When the execution began; None if it ended before its first turn."""
    failure: ErrorDetails | None
    """Why it failed; None unless it did."""
    parent: ParentLink | None
    """Where it is a child: of which execution."""
    copied_from: CopiedFrom | None
    """Where it is a rewound execution or a fork: the history that it began with."""
    headers: Mapping[str, str]
    """What travels with the instance."""


@record
class InstanceParked:
    """An instance cannot go on for now."""

    at: Instant
    instance: str
    reason: str
    details: str


@record
class TurnLost:
    """A turn was refused, or its answer did not come; another lease of the instance goes on."""

    at: Instant
    instance: str
    reason: str


@record
class TurnCall:
    """A turn of an instance: what the wrappers of `perdure_wrap_turn` are told."""

    instance: str
    incarnation: str
    execution: int
    orchestration: str
    headers: Mapping[str, str]
    """What travels with the instance; empty where the start message cannot be decoded."""


@record
class ActivityCall:
    """A call of an activity's function: what the wrappers of `perdure_wrap_activity` are told."""

    instance: str
    incarnation: str
    execution: int
    activity: str
    """The activity's id."""
    name: str
    attempt: int
    delivery: int
    headers: Mapping[str, str]
    """What travels with the instance."""


@record
class ActivityStarted:
    """An activity's function is about to be called."""

    at: Instant
    instance: str
    activity: str
    """The activity's id."""
    name: str
    attempt: int
    delivery: int
    incarnation: str
    execution: int
    waited: timedelta
    """Since the commit that scheduled it; the delay of a retry included."""


@record
class ActivityEnded:
    """An activity's function returned, raised or was cancelled."""

    at: Instant
    instance: str
    activity: str
    name: str
    outcome: str
    """`completed`, `failed` or `cancelled`."""
    attempt: int
    """0 if its function was not called."""
    delivery: int
    incarnation: str
    execution: int
    duration: timedelta
    """Since its function was called."""
    failure: ErrorDetails | None
    """Why it failed; None unless it did."""


@record
class DetachedStartRefused:
    """A detached start found its id in use and changed nothing."""

    at: Instant
    instance: str
    """The instance that asked for it."""
    detached: str
    """The id that is in use."""


@record
class ValueDiffered:
    """The code passed another value than the history has; the recorded one counts.

    Sent once for each place in an execution, and not again when it is replayed.
    """

    at: Instant
    instance: str
    execution: int
    orchestration: str
    version: str
    event: int
    """The number of the event that has the recorded value; of the first if there are several."""
    kind: str
    """The kind of that event, such as `ActivityScheduled`."""
    name: str
    """The name of what the code asked for; empty if it has none."""
    field: str
    """Which of the event's fields, such as `input`, `fire_at` or `retry`."""
    path: str
    """The place in the value, such as `$.messages[0]`; `$` is the whole value."""


@record
class EventRefused:
    """An external event does not fit the wait that it came to; the wait goes on without it."""

    at: Instant
    instance: str
    execution: int
    orchestration: str
    version: str
    name: str
    """The name of the external event."""
    event_id: str
    """The id under which it was raised."""
    reason: str


@record
class InstancesDeleted:
    """The runtime deleted ended instances that its retention keeps no longer."""

    at: Instant
    instances: tuple[str, ...]
    """The ids of those without a parent; their children went with them."""


@record
class StorageUsed:
    """What the provider object has asked of its storage since the last such event.

    Sent once a minute and when the runtime ends, if the provider counts and anything was used. Of
    several runtimes that share a provider object, each is told all of it.
    """

    at: Instant
    usage: Mapping[str, float]
    """By names of the provider."""


RuntimeEvent: TypeAlias = (
    TurnCommitted
    | ExecutionEnded
    | InstanceParked
    | TurnLost
    | ActivityStarted
    | ActivityEnded
    | DetachedStartRefused
    | ValueDiffered
    | EventRefused
    | InstancesDeleted
    | StorageUsed
)
