"""Turns: leasing an instance, reading its history, committing what came of a turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from perdure.clock import Instant
from perdure.records.activities import ActivityLease, NewActivity
from perdure.records.instances import (
    InstanceState,
    InstanceStatus,
    Message,
    NewInstance,
    ParkedMark,
)
from perdure.records.limits import ENGINE


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
