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
