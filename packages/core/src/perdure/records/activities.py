"""The activity queue: adding, leasing, completing and releasing activities."""

from __future__ import annotations

from datetime import timedelta

from perdure.clock import Instant
from perdure.model.record import record
from perdure.records.instances import Message, ParkedMark


@record
class NewActivity:
    """An activity that a commit adds to the queue."""

    id: str
    """Unique within the instance's incarnation."""
    name: str
    """The registered name of the activity."""
    data: bytes
    """Opaque to the provider."""
    tag: str | None = None
    """Only runtimes that run this tag lease it; None: those that run untagged activities."""
    visible_at: Instant | None = None
    """When it can be leased; None: at once, independent of any clock."""
    lease: bool = False
    """Whether the commit adds it already leased, under its `activity_token`."""


@record
class ActivityLease:
    """Identifies an activity lease."""

    instance: str
    """The id of the instance."""
    activity: str
    """The id of the activity."""
    token: str
    """The token of the call that gave the lease."""


@record
class ActivityRequest:
    """A call of `lease_activities`."""

    token: str
    """The token of every lease that this call gives. A repeat of the call with the same token
    returns the leases that it already gave."""
    limit: int
    """The most activities to return."""
    lease_for: timedelta
    """How long the leases last; more than zero and at most `LONGEST_LEASE`."""
    names: frozenset[str]
    """The registered names."""
    tags: frozenset[str | None] = frozenset({None})
    """The tags that the caller runs; None stands for untagged activities."""
    unregistered_for: timedelta | None = None
    """If set, also return activities that have waited at least this long because no runtime
    registers their name and runs their tag."""


@record
class LeasedActivity:
    """The right to run one activity until `until`."""

    instance: str
    """The id of the instance."""
    incarnation: str
    """The incarnation that scheduled it."""
    execution: int
    """The execution that scheduled it."""
    id: str
    """The id of the activity."""
    name: str
    """The registered name of the activity."""
    tag: str | None
    """The tag that it was added with."""
    data: bytes
    """What the commit added, unchanged."""
    token: str
    """The token of the call that gave the lease."""
    until: Instant
    """The end of the lease."""
    delivery: int
    """The number of leases so far, this one included, without releases that do not count."""
    added_at: Instant
    """When the commit added it."""
    served: bool = True
    """False for an activity that was returned because of `unregistered_for`."""

    @property
    def lease(self) -> ActivityLease:
        """Identifies this lease."""
        return ActivityLease(instance=self.instance, activity=self.id, token=self.token)


@record
class ActivityCompletion:
    """The end of an activity, with the message that carries its result to the instance."""

    lease: ActivityLease
    """The lease under which the activity ran."""
    message: Message
    """Goes to the instance's mailbox."""


@record
class ActivityRelease:
    """Gives an activity lease back without a result."""

    lease: ActivityLease
    """The lease to give back."""
    delay: timedelta = timedelta(0)
    """Hides the activity for this long; at most `LONGEST_LEASE`."""
    counted: bool = True
    """False: this lease does not count as a delivery."""
    parked: ParkedMark | None = None
    """If set, marks the activity's instance as parked."""
