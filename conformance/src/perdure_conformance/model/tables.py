"""The tables: all that the provider stores, as plain rows in dictionaries.

A row has the fields of the contract's records, and what locking and ordering need beside them.
There are no rules here. A database has one table for each of these dictionaries.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from perdure.clock import Instant
from perdure.contract import (
    CommitAnswer,
    ExecutionState,
    InstanceState,
    Message,
    NewActivity,
    StoredEvent,
)


@dataclass(slots=True)
class Lease:
    """The lease of a turn or an activity."""

    token: str
    until: Instant


@dataclass(slots=True)
class MailboxEntry:
    """A message in a mailbox, with its place."""

    message: Message
    due: Instant
    """Its `visible_at`, or the stamp of its arrival."""
    arrived_at: Instant
    """The stamp of its arrival."""
    arrival: int
    front: tuple[int, int] | None = None
    """For messages put to the front: the commit, counted downwards, and the place in it."""


@dataclass(slots=True)
class InstanceRow:
    """An instance, with its lease and its attempts."""

    state: InstanceState
    created: int
    """The place among all creations, for listings."""
    attempt: int = 0
    lease: Lease | None = None
    taken_from: str | None = None
    """The token of the lease that was last taken over, until it is accounted for."""
    hidden_until: Instant | None = None
    released_at: Instant = 0
    released: int = 0
    """The place of the last release among all happenings; the earliest is leased first."""
    answer: CommitAnswer | None = None
    """The answer of the last commit, for its repeat."""


@dataclass(slots=True)
class ActivityRow:
    """An activity in the queue."""

    new: NewActivity
    instance: str
    incarnation: str
    execution: int
    added_at: Instant
    place: int
    """Where it stands in the queue; a release puts it at the end."""
    due: Instant
    """When it became, or becomes, visible; a release moves it."""
    visible_at: Instant | None
    hidden_until: Instant | None = None
    """The delay of a release."""
    delivery: int = 0
    lease: Lease | None = None
    taken_from: str | None = None
    """As for an instance."""


@dataclass(slots=True)
class ExecutionRow:
    """One execution of an instance, with its history."""

    state: ExecutionState
    events: list[StoredEvent] = field(default_factory=list[StoredEvent])


@dataclass(slots=True)
class Tables:
    """All rows of one namespace."""

    instances: dict[str, InstanceRow] = field(default_factory=dict[str, InstanceRow])
    mailboxes: dict[str, dict[str, MailboxEntry]] = field(
        default_factory=dict[str, dict[str, MailboxEntry]]
    )
    activities: dict[tuple[str, str], ActivityRow] = field(
        default_factory=dict[tuple[str, str], ActivityRow]
    )
    values: dict[str, dict[str, bytes]] = field(default_factory=dict[str, dict[str, bytes]])
    executions: dict[str, list[ExecutionRow]] = field(default_factory=dict[str, list[ExecutionRow]])
    effects: list[str] = field(default_factory=list[str])
    """What activities have written in transactions."""
    stamp: Instant = 0
    """The newest stamp given to a message: stamps never go back."""
    happenings: int = 0
    """Counts arrivals, releases and creations."""
