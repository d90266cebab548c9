"""The records of the provider contract: what core and a provider hand to each other.

All are frozen and take keywords only, so that a later minor version can add a field with a
default. Payloads are opaque bytes; whatever a provider needs to route, index or void stands
beside them in plain fields. Instants are microseconds since the epoch; durations `timedelta`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from perdure.clock import Instant

CONTRACT: tuple[int, int] = (1, 0)
"""Major and minor version of the provider contract, apart from the packages' versions."""

ENGINE = 1
"""The newest format of histories and messages that this core writes and reads."""

MAX_MESSAGES_PER_DELIVERY = 1000
"""A lease or a commit's answer carries at most this many messages."""

MAX_BYTES_PER_DELIVERY = 4 * 1024 * 1024
"""… and at most this many bytes of payload, but always at least one message."""

LONGEST_LEASE = timedelta(minutes=5)
"""No lease and no delay is longer."""

ALLOWED_SKEW = timedelta(seconds=60)
"""A lease or a delay that ends later than now + LONGEST_LEASE + ALLOWED_SKEW is over."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something addressed to an instance."""

    id: str
    """Unique among the messages of its instance; a mailbox that holds it drops a second one."""
    instance: str
    kind: MessageKind
    data: bytes
    incarnation: str | None = None
    """The incarnation addressed. None for external events, which address whoever has the id."""
    execution: int | None = None
    """Where set, the message is void unless this is the instance's current execution."""
    visible_at: Instant | None = None
    """When it is due; None: now, whatever any clock says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentLink:
    """Who started a child, and where the answer goes."""

    instance: str
    incarnation: str
    execution: int
    event: int
    """The number of the schedule event in the parent's history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedMark:
    """Why an instance cannot go on for now."""

    reason: str
    details: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedState:
    """A parked mark as it is stored: `since` stays from the first mark for its reason,
    until one for another reason replaces it or a commit clears it."""

    reason: str
    details: str
    since: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInstance:
    """An instance to be created, with its start message."""

    instance: str
    incarnation: str
    """Unique among all instances that ever had this id; chosen by the creator."""
    name: str
    start: Message
    """Kind START, addressed to this incarnation."""
    version: str | None = None
    """The version it is pinned to; None: the newest, chosen when it first runs."""
    engine: int = ENGINE
    """The oldest engine that can run it."""
    parent: ParentLink | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceState:
    """The plain fields of an instance."""

    instance: str
    incarnation: str
    name: str
    version: str | None
    engine: int
    execution: int
    """The newest execution; 1 from creation on."""
    last_event: int
    """The number of the last event of that execution; 0 before its first turn."""
    last_commit: str | None
    """The id of the last commit; None before the first."""
    status: InstanceStatus
    output: bytes | None
    created_at: Instant
    updated_at: Instant
    parked: ParkedState | None = None
    parent: ParentLink | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Serves:
    """What a runtime can run: the filter of `lease_turns`."""

    orchestrations: Mapping[str, frozenset[str]]
    """Registered names, each with its registered versions."""
    engine: int = ENGINE
    """Instances that ask for a newer engine are not leased."""

    def accepts(self, name: str, version: str | None) -> bool:
        """Whether an instance of this name, and pinned to this version, can be run."""
        versions = self.orchestrations.get(name)
        return versions is not None and (version is None or version in versions)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequest:
    """A call of `lease_turns`."""

    token: str
    """The caller's token for every lease that this call gives; a repeat finds them again."""
    limit: int
    lease_for: timedelta
    serves: Serves
    unserved_for: timedelta | None = None
    """Where set, also ask for work that nobody took for so long, for want of name or version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedTurn:
    """The right to run one instance's turns until `until`."""

    state: InstanceState
    token: str
    until: Instant
    attempt: int
    """How often the instance was leased since its last commit, this time included."""
    messages: tuple[Message, ...]
    """The visible messages in order, up to the limits of a delivery."""
    more: bool
    """Whether further visible messages wait."""
    served: bool = True
    """False for work that was asked for with `unserved_for`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnLease:
    """A turn lease by name, to be renewed or given back."""

    instance: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRelease:
    """A turn lease given back without a commit."""

    lease: TurnLease
    delay: timedelta = timedelta(0)
    """Hides the whole instance for so long, messages that come meanwhile included."""
    counted: bool = True
    """False: this lease does not count as an attempt."""
    parked: ParkedMark | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """One event of a history."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """Events of an execution in order; `more` where others follow."""

    events: tuple[StoredEvent, ...]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewActivity:
    """An activity that a commit adds to the queue."""

    id: str
    """Unique within the instance's incarnation."""
    name: str
    data: bytes
    tag: str | None = None
    """Only workers that serve this tag take it; None: those that serve untagged work."""
    visible_at: Instant | None = None
    lease: bool = False
    """Whether it is added already leased, under the commit's `activity_token`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityLease:
    """An activity lease by name."""

    instance: str
    activity: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChild:
    """An instance that a commit creates."""

    instance: NewInstance
    if_exists: Message | None = None
    """Put into the committer's own mailbox where the id is in use by another incarnation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionEnd:
    """How an execution ends.

    COMPLETED and FAILED end the instance too: its mailbox and its activities are void.
    CONTINUED_AS_NEW begins the next execution at event 0: timers and activities of the old one
    are void, all other messages stay. The commit's `front` then begins with the new start.
    """

    status: InstanceStatus
    output: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCommit:
    """Everything that a turn changes, all or nothing."""

    id: str
    """Unique; a repeat of the instance's last commit changes nothing and gives its answer."""
    instance: str
    incarnation: str
    token: str
    """The turn lease."""
    execution: int
    expected_event: int
    """The number of the last event that the history is expected to have."""
    events: tuple[bytes, ...] = ()
    """Appended as `expected_event + 1` and on."""
    remove: tuple[str, ...] = ()
    """Ids of messages of the own mailbox to remove, delivered or not; unknown ones are passed over."""
    finish: tuple[ActivityLease, ...] = ()
    """Activities that this commit finishes: removed, and that each lease stands is a precondition."""
    cancel: tuple[str, ...] = ()
    """Ids of activities to remove, leased or not; unknown ones are passed over."""
    add: tuple[NewActivity, ...] = ()
    activity_token: str | None = None
    activity_lease_for: timedelta | None = None
    send: tuple[Message, ...] = ()
    """To the mailbox of any instance, visible now or later."""
    front: tuple[Message, ...] = ()
    """To the front of the own mailbox, in this order; one whose id is held moves to the front."""
    create: tuple[NewChild, ...] = ()
    end: ExecutionEnd | None = None
    version: str | None = None
    """Where set, the version that the instance (with CONTINUED_AS_NEW: the next execution) is pinned to."""
    unpin: bool = False
    """With CONTINUED_AS_NEW: the newest version is chosen anew."""
    engine: int | None = None
    keep_for: timedelta | None = None
    """Keep the lease and extend it to now plus this; None: release it."""
    held: frozenset[str] = frozenset()
    """Ids of messages that the caller still holds from this lease; the answer leaves them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitAnswer:
    """What a commit brought about beyond what it asked for."""

    lease_until: Instant | None = None
    """Where the lease was kept."""
    activities_until: Instant | None = None
    """The end of the leases of the activities that were added leased; None where there are none."""
    in_use: frozenset[str] = frozenset()
    """The ids of `create` that other incarnations have; nothing was created for these."""
    messages: tuple[Message, ...] = ()
    """With a kept lease: visible messages that the caller does not hold, in order, up to the limits."""
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRequest:
    """A call of `lease_activities`."""

    token: str
    limit: int
    lease_for: timedelta
    names: frozenset[str]
    tags: frozenset[str | None] = frozenset({None})
    unserved_for: timedelta | None = None
    """Where set, also ask for work that nobody took for so long, for want of name or tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeasedActivity:
    """The right to run one activity until `until`."""

    instance: str
    incarnation: str
    execution: int
    id: str
    name: str
    tag: str | None
    data: bytes
    token: str
    until: Instant
    delivery: int
    """How often it was leased, this time included and uncounted releases left out."""
    added_at: Instant
    served: bool = True

    @property
    def lease(self) -> ActivityLease:
        """This lease by name."""
        return ActivityLease(instance=self.instance, activity=self.id, token=self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityCompletion:
    """An activity's end, with the message that tells its instance."""

    lease: ActivityLease
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRelease:
    """An activity lease given back without a result."""

    lease: ActivityLease
    delay: timedelta = timedelta(0)
    counted: bool = True
    parked: ParkedMark | None = None
    """Where set, marks the activity's instance as parked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkWait:
    """A call of `wait_for_work`: what the caller would lease, and how long it waits at most."""

    timeout: timedelta
    serves: Serves | None = None
    activity_names: frozenset[str] = frozenset()
    activity_tags: frozenset[str | None] = frozenset({None})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeWait:
    """A call of `wait_for_change`: what the caller last saw, and how long it waits at most."""

    instance: str
    timeout: timedelta
    last_commit: str | None = None
    parked: ParkedState | None = None
    exists: bool = True
    """False where the caller saw no instance; `last_commit` and `parked` are None then."""
    until_ended: bool = False
    """A hint: the caller cares only for the creation, the end and the parking of the instance, so
    a provider need not wake it for other commits. It may still do so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancellationWait:
    """A call of `wait_for_cancellation`: what the caller runs, and how long it waits at most."""

    leases: tuple[ActivityLease, ...]
    timeout: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionState:
    """The plain fields of one execution."""

    execution: int
    status: InstanceStatus
    output: bytes | None
    event_count: int
    started_at: Instant
    completed_at: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IdPage:
    """Instance ids, and where the next page begins."""

    ids: tuple[str, ...]
    next_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreMetrics:
    """Counts over everything in the namespace; running + completed + failed = instances."""

    total_instances: int = 0
    total_executions: int = 0
    running_instances: int = 0
    completed_instances: int = 0
    failed_instances: int = 0
    total_events: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreQueueDepths:
    """What waits to be taken.

    Visible messages of existing instances that nobody leases; activities that nobody leases;
    messages of existing instances that are not visible yet.
    """

    orchestrator_queue: int = 0
    worker_queue: int = 0
    timer_queue: int = 0


MANAGEMENT = "management"
"""Capability: `as_management_capability` returns a `ProviderAdmin`."""

PERSISTENT = "persistent"
"""Capability: what was acknowledged is there after the process is gone."""

SHARED = "shared"
"""Capability: several processes may open the same storage at once."""
