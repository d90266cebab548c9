"""The activity queue: adding, leasing, completing and releasing activities."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from perdure.clock import Instant
from perdure.records.instances import Message, ParkedMark


@dataclass(frozen=True, slots=True, kw_only=True)
class NewActivity:
    """An activity that a commit adds to the queue."""

    id: str
    """Unique within the instance's incarnation."""
    name: str
    data: bytes
    tag: str | None = None
    """Only runtimes that serve this tag lease it; None: those that serve untagged activities."""
    visible_at: Instant | None = None
    lease: bool = False
    """Whether the commit adds it already leased, under its `activity_token`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityLease:
    """Identifies an activity lease."""

    instance: str
    activity: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRequest:
    """A call of `lease_activities`."""

    token: str
    limit: int
    lease_for: timedelta
    names: frozenset[str]
    tags: frozenset[str | None] = frozenset({None})
    unregistered_for: timedelta | None = None
    """If set, also return activities that have waited at least this long because no runtime
    registers their name or serves their tag."""


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
    """The number of leases so far, this one included, without releases that do not count."""
    added_at: Instant
    served: bool = True

    @property
    def lease(self) -> ActivityLease:
        """Identifies this lease."""
        return ActivityLease(instance=self.instance, activity=self.id, token=self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityCompletion:
    """The end of an activity, with the message that carries its result to the instance."""

    lease: ActivityLease
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRelease:
    """Gives an activity lease back without a result."""

    lease: ActivityLease
    delay: timedelta = timedelta(0)
    counted: bool = True
    parked: ParkedMark | None = None
    """If set, marks the activity's instance as parked."""
