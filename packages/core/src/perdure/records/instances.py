"""Instances: how one begins, the messages addressed to it, and its plain fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from perdure.clock import Instant
from perdure.model.record import record
from perdure.records.limits import FIRST_ENGINE


class MessageKind(StrEnum):
    """What a message is. A provider treats START and EVENT apart and all others alike."""

    START = "start"
    """Begins an execution; always first in its mailbox."""
    ACTIVITY = "activity"
    """The result of an activity."""
    TIMER = "timer"
    """A durable timer; visible when it is due."""
    EVENT = "event"
    """An external event: addressed to an id alone, kept for an instance to come."""
    CHILD = "child"
    """The result of a child, or that it could not be started."""
    CANCEL = "cancel"
    """A request to cancel the instance."""


class InstanceStatus(StrEnum):
    """The state of an instance or of one of its executions, as a provider stores it."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CONTINUED_AS_NEW = "ContinuedAsNew"
    """Of an execution only: the next one has begun."""


@record
class Message:
    """Something addressed to an instance."""

    id: str
    """Unique in the mailbox: a second message with an id that the mailbox holds is dropped."""
    instance: str
    """The id of the instance that it is addressed to."""
    kind: MessageKind
    """What the message is."""
    data: bytes
    """Opaque to the provider."""
    incarnation: str | None = None
    """The incarnation addressed. None for external events, which address the instance that has
    the id when they are delivered."""
    execution: int | None = None
    """If set, the message is void unless this is the instance's current execution."""
    visible_at: Instant | None = None
    """When it becomes visible; None: at once, independent of any clock."""


@record
class ParentLink:
    """The parent of a child: the instance that started it and receives its result."""

    instance: str
    """The id of the parent."""
    incarnation: str
    """The incarnation of the parent."""
    execution: int
    """The execution of the parent that scheduled the child."""
    event: int
    """The number of the schedule event in the parent's history."""


@record
class ParkedMark:
    """Why an instance cannot continue for now."""

    reason: str
    """A word from a fixed list, such as `unregistered`."""
    details: str
    """A sentence for people."""


@record
class ParkedState:
    """A parked mark as it is stored.

    `since` is the instant of the first mark with this reason. A mark with another reason replaces
    it; a commit clears it.
    """

    reason: str
    """A word from a fixed list, such as `unregistered`."""
    details: str
    """A sentence for people."""
    since: Instant
    """The instant of the first mark with this reason."""


@record
class NewInstance:
    """An instance to be created, with its start message."""

    instance: str
    """The id of the instance."""
    incarnation: str
    """Unique among all instances that ever had this id; chosen by the creator."""
    name: str
    """The registered name of the orchestration."""
    start: Message
    """Kind START, addressed to this incarnation."""
    version: str | None = None
    """The version that the instance is pinned to; None: the newest registered one, chosen at the
    first turn."""
    engine: int = FIRST_ENGINE
    """The oldest engine that can run the instance."""
    parent: ParentLink | None = None
    """The parent of a child; None for an instance that a client starts."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """Texts by which listings find the instance; needs the capability `listing` unless empty."""
    replaces: str | None = None
    """The incarnation of an ended instance with this id that is deleted in the same step; needs
    the capability `deletion` unless None."""


@record
class InstanceState:
    """The plain fields of an instance."""

    instance: str
    """The id of the instance."""
    incarnation: str
    """The incarnation that has the id."""
    name: str
    """The registered name of the orchestration."""
    version: str | None
    """The version that the instance is pinned to; None: not pinned yet."""
    engine: int
    """The oldest engine that can run the instance."""
    execution: int
    """The newest execution; 1 from creation on."""
    last_event: int
    """The number of the last event of that execution; 0 before its first turn."""
    last_commit: str | None
    """The id of the last commit; None before the first."""
    status: InstanceStatus
    """RUNNING, COMPLETED or FAILED."""
    output: bytes | None
    """The output of the last execution; None while the instance runs."""
    created_at: Instant
    """When the instance was created."""
    updated_at: Instant
    """The time of the last commit, or of the creation before the first."""
    parked: ParkedState | None = None
    """The mark that stands; None: not parked."""
    parent: ParentLink | None = None
    """The parent; None for an instance that a client started."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """The labels that it was created with."""
    custom_status: bytes | None = None
    """What the last commit with a custom status set; None before the first."""
    custom_status_version: int = 0
    """The number of commits that set a custom status."""
    value_count: int = 0
    """The number of values that the instance has."""
