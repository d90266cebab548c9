"""Turns: leasing an instance, reading its history, committing the result of a turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta

from perdure.clock import Instant
from perdure.model.record import record
from perdure.records.activities import ActivityLease, NewActivity
from perdure.records.instances import (
    InstanceState,
    InstanceStatus,
    Message,
    NewInstance,
    ParkedMark,
)
from perdure.records.limits import ENGINE


@record
class Serves:
    """The orchestrations that a runtime registers: the filter of `lease_turns`."""

    orchestrations: Mapping[str, frozenset[str]]
    """Registered names, each with its registered versions."""
    engine: int = ENGINE
    """Instances that need a newer engine are not leased."""

    def accepts(self, name: str, version: str | None) -> bool:
        """Whether an instance of this name, and pinned to this version, can be run."""
        versions = self.orchestrations.get(name)
        return versions is not None and (version is None or version in versions)


@record
class TurnRequest:
    """A call of `lease_turns`."""

    token: str
    """The token of every lease that this call gives. A repeat of the call with the same token
    returns the leases that it already gave."""
    limit: int
    """The most instances to return."""
    lease_for: timedelta
    """How long the leases last; more than zero and at most `LONGEST_LEASE`."""
    serves: Serves
    """What the caller can run."""
    unregistered_for: timedelta | None = None
    """If set, also return instances that have been ready at least this long because no runtime
    registers their name or version."""


@record
class LeasedTurn:
    """The right to run one instance's turns until `until`."""

    state: InstanceState
    """The instance as it stands now."""
    token: str
    """The token of the call that gave the lease."""
    until: Instant
    """The end of the lease."""
    attempt: int
    """The number of leases since the last commit of the instance, this one included."""
    messages: tuple[Message, ...]
    """The visible messages in order, up to the limits of a delivery."""
    more: bool
    """Whether the mailbox has further visible messages."""
    served: bool = True
    """False for an instance that was returned because of `unregistered_for`."""


@record
class TurnLease:
    """Identifies a turn lease, to renew it or to give it back."""

    instance: str
    """The id of the instance."""
    token: str
    """The token of the call that gave the lease."""


@record
class TurnRelease:
    """Gives a turn lease back without a commit."""

    lease: TurnLease
    """The lease to give back."""
    delay: timedelta = timedelta(0)
    """Hides the instance for this long, including messages that arrive meanwhile; at most
    `LONGEST_LEASE`."""
    counted: bool = True
    """False: this lease does not count as an attempt."""
    parked: ParkedMark | None = None
    """If set, marks the instance as parked."""


@record
class StoredEvent:
    """One event of a history."""

    number: int
    """From 1, without gaps."""
    data: bytes
    """Opaque to the provider."""


@record
class HistoryPage:
    """Events of an execution in order; `more` tells whether others follow."""

    events: tuple[StoredEvent, ...]
    """The events, by number."""
    more: bool
    """Whether further events follow."""


@record
class NewChild:
    """An instance that a commit creates."""

    instance: NewInstance
    """The instance to create."""
    if_exists: Message | None = None
    """Put into the mailbox of the committing instance if another incarnation has the id."""


@record
class ExecutionEnd:
    """How an execution ends.

    COMPLETED and FAILED end the instance too: its mailbox and its activities are void.
    CONTINUED_AS_NEW begins the next execution at event 0: timers and activities of the old one
    are void, all other messages stay. The commit's `front` then begins with the new start.
    """

    status: InstanceStatus
    """COMPLETED, FAILED or CONTINUED_AS_NEW."""
    output: bytes | None = None
    """Becomes the output of the execution. Opaque to the provider."""


@record
class TurnCommit:
    """Everything that a turn changes, all or nothing."""

    id: str
    """Unique; a repeat of the instance's last commit changes nothing and gives its answer."""
    instance: str
    """The id of the instance."""
    incarnation: str
    """The incarnation that the turn ran."""
    token: str
    """The turn lease."""
    execution: int
    """The execution that the turn ran."""
    expected_event: int
    """The number of the last event that the history is expected to have."""
    events: tuple[bytes, ...] = ()
    """Appended with the numbers from `expected_event + 1` on."""
    remove: tuple[str, ...] = ()
    """Ids of messages to remove from the own mailbox, delivered or not; unknown ids are ignored."""
    finish: tuple[ActivityLease, ...] = ()
    """Activities to remove because this commit consumes their results. The commit is refused with
    `ActivityLeaseLost` unless each of these leases holds."""
    cancel: tuple[str, ...] = ()
    """Ids of activities to remove, leased or not; unknown ids are ignored."""
    add: tuple[NewActivity, ...] = ()
    """Activities to add to the queue; none is added beside an `end`."""
    activity_token: str | None = None
    """The token of the leases of activities that are added leased."""
    activity_lease_for: timedelta | None = None
    """How long these leases last."""
    send: tuple[Message, ...] = ()
    """Messages for the mailbox of any instance, visible now or later."""
    front: tuple[Message, ...] = ()
    """Messages for the front of the own mailbox, in this order. One takes the place of any other
    message with its id."""
    create: tuple[NewChild, ...] = ()
    """Instances to create, in this order: of several with one id the first one gets it."""
    end: ExecutionEnd | None = None
    """If set, ends the execution."""
    version: str | None = None
    """If set, pins the instance to this version; with CONTINUED_AS_NEW, the next execution."""
    unpin: bool = False
    """With CONTINUED_AS_NEW: the next execution chooses the newest registered version."""
    engine: int | None = None
    """If set, the oldest engine that can run the instance from now on."""
    keep_for: timedelta | None = None
    """Keeps the lease and extends it to now plus this duration; None: releases it."""
    held: frozenset[str] = frozenset()
    """Ids of messages that the caller still has from this lease; the answer omits them."""
    custom_status: bytes | None = None
    """If set, the new custom status of the instance; needs the capability `values`."""
    values: Mapping[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    """Values of the instance to set, or with None to delete; the others stay. Needs the capability
    `values` unless empty."""


@record
class CommitAnswer:
    """The answer of a commit."""

    lease_until: Instant | None = None
    """The end of the lease; None if the commit released it."""
    activities_until: Instant | None = None
    """The end of the leases of the activities that were added leased; None if there are none."""
    in_use: frozenset[str] = frozenset()
    """The ids in `create` that other incarnations have; the commit created nothing for these."""
    messages: tuple[Message, ...] = ()
    """If the lease is kept: visible messages that are not in `held`, in order, up to the limits of
    a delivery."""
    more: bool = False
    """Whether the mailbox has further visible messages."""
