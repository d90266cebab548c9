"""Listings: which instances to find, and what one of them has still to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field

from perdure.clock import Instant
from perdure.model.record import record
from perdure.records.instances import InstanceState, InstanceStatus, MessageKind


@record
class InstanceQuery:
    """The conditions of a listing; an instance is found if it meets all of them."""

    statuses: frozenset[InstanceStatus] = frozenset()
    """RUNNING, COMPLETED or FAILED, as the instance stands now; empty: any."""
    orchestrations: frozenset[str] = frozenset()
    """The names; empty: any."""
    parked: bool | None = None
    """Whether the instance is parked; None: either."""
    parked_reasons: frozenset[str] = frozenset()
    """The reasons of a parked instance; empty: any, parked or not."""
    id_prefix: str = ""
    """How the id begins."""
    created_from: Instant | None = None
    """Created at this instant or later; None: any."""
    created_before: Instant | None = None
    """Created before this instant; None: any."""
    updated_from: Instant | None = None
    """Last changed at this instant or later; None: any."""
    updated_before: Instant | None = None
    """Last changed before this instant; None: any."""
    parent: str | None = None
    """The id of the parent; None: any or none."""
    roots_only: bool = False
    """Only instances without a parent."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """Labels that the instance has, among others."""

    def accepts(self, state: InstanceState) -> bool:
        """Whether an instance in this state meets all conditions."""
        parent = None if state.parent is None else state.parent.instance
        reason = None if state.parked is None else state.parked.reason
        return (
            (not self.statuses or state.status in self.statuses)
            and (not self.orchestrations or state.name in self.orchestrations)
            and (self.parked is None or self.parked == (reason is not None))
            and (not self.parked_reasons or reason in self.parked_reasons)
            and state.instance.startswith(self.id_prefix)
            and (self.created_from is None or state.created_at >= self.created_from)
            and (self.created_before is None or state.created_at < self.created_before)
            and (self.updated_from is None or state.updated_at >= self.updated_from)
            and (self.updated_before is None or state.updated_at < self.updated_before)
            and (self.parent is None or parent == self.parent)
            and (not self.roots_only or parent is None)
            and self.labels.items() <= state.labels.items()
        )

    def digest(self) -> str:
        """A short text that differs for queries that differ, for the tokens of pages."""
        conditions = [
            sorted(self.statuses),
            sorted(self.orchestrations),
            self.parked,
            sorted(self.parked_reasons),
            self.id_prefix,
            [self.created_from, self.created_before],
            [self.updated_from, self.updated_before],
            self.parent,
            self.roots_only,
            sorted(self.labels.items()),
        ]
        return hashlib.sha256(json.dumps(conditions).encode()).hexdigest()[:16]


@record
class InstancePage:
    """Instances that a query found, newest first; `next_token` is None on the last page.

    A page may have fewer instances than its limit, and none, and still have a token.
    """

    instances: tuple[InstanceState, ...]
    """The instances, newest first."""
    next_token: str | None = None
    """Continues the listing; None on the last page."""


@record
class QueuedActivity:
    """An activity of an instance that is in the queue."""

    id: str
    """The id of the activity."""
    name: str
    """The registered name of the activity."""
    tag: str | None
    """The tag that it was added with."""
    data: bytes
    """What the commit added, unchanged."""
    added_at: Instant
    """When the commit added it."""
    delivery: int
    """The number of leases so far, without releases that do not count."""
    visible_at: Instant | None = None
    """When it can be leased; None: since it was added."""
    leased_until: Instant | None = None
    """The end of the lease that stands; None if there is none."""


@record
class QueuedMessage:
    """A message in the mailbox of an instance, without its payload."""

    id: str
    """The id of the message."""
    kind: MessageKind
    """What the message is."""
    size: int
    """The size of its payload in bytes."""
    visible_at: Instant | None = None
    """When it becomes visible; None: since it came."""


@record
class InstanceWork:
    """What is queued for an instance: at most the first 1,000 of each kind."""

    attempt: int
    """The number of counted leases since the last commit."""
    leased_until: Instant | None
    """The end of the turn lease that stands; None if there is none."""
    delayed_until: Instant | None
    """The end of the delay that is in force; None if there is none."""
    activities: tuple[QueuedActivity, ...]
    """Activities that are queued or leased."""
    messages: tuple[QueuedMessage, ...]
    """In the order of the mailbox."""
    more: bool = False
    """Whether there are further activities or messages."""
