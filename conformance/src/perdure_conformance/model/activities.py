"""The activity queue: leases, releases, renewals and completions.

Keeps the clauses ACT-1 to ACT-24. An activity is in the table as long as it may still run. The
activities of an ended or continued execution are dropped at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    InstanceStatus,
    LeasedActivity,
    ParkedMark,
    ParkedState,
    TurnCommit,
)
from perdure.errors import ActivityLeaseLost

from perdure_conformance.model.mailboxes import Mailboxes
from perdure_conformance.model.tables import ActivityRow, InstanceRow, Lease


class Activities(Mailboxes):
    """The rules for activities."""

    def add_activities(self, commit: TurnCommit) -> None:
        """Add the commit's activities, without those that it cancels itself."""
        for new in commit.add:
            if new.id in commit.cancel:
                continue
            row = ActivityRow(
                new=new,
                instance=commit.instance,
                incarnation=commit.incarnation,
                execution=commit.execution,
                added_at=self.now,
                place=self.count(),
                due=self.now if new.visible_at is None else new.visible_at,
                visible_at=new.visible_at,
            )
            if new.lease and commit.activity_token is not None and commit.activity_lease_for:
                row.lease = Lease(commit.activity_token, self.after(commit.activity_lease_for))
                row.delivery = 1
            self.tables.activities[commit.instance, new.id] = row

    def remove_activities(self, instance: str, ids: Sequence[str]) -> None:
        """Take activities away, leased or not."""
        for activity in ids:
            self.tables.activities.pop((instance, activity), None)

    def is_wanted(self, row: ActivityRow) -> bool:
        """Whether the activity is not void."""
        owner = self.row_of(row.instance, row.incarnation)
        return (
            owner is not None
            and owner.state.status is InstanceStatus.RUNNING
            and owner.state.execution == row.execution
        )

    def drop_void_activities(self, instance: str) -> None:
        """Drop the activities that the instance left behind."""
        void = [
            key
            for key, row in self.tables.activities.items()
            if key[0] == instance and not self.is_wanted(row)
        ]
        for key in void:
            del self.tables.activities[key]

    def leased_row(self, lease: ActivityLease) -> ActivityRow | None:
        """The activity, if this lease stands and its result is wanted."""
        row = self.tables.activities.get((lease.instance, lease.activity))
        if row is None or not self.stands(row.lease, lease.token) or not self.is_wanted(row):
            return None
        return row

    def is_available(self, row: ActivityRow) -> bool:
        """Whether any caller may lease it now."""
        due = row.visible_at is None or row.visible_at <= self.now
        delayed = self.lasts(row.hidden_until)
        return due and not delayed and not self.is_live(row.lease) and self.is_wanted(row)

    def is_unregistered(self, row: ActivityRow, request: ActivityRequest) -> bool:
        """Whether it has waited so long that a caller without its name or tag gets it too."""
        return (
            request.unregistered_for is not None
            and not self.matches(row, request)
            and row.due <= self.now
            and row.due <= self.after(-request.unregistered_for)
            and not self.is_served_elsewhere(row)
        )

    def is_served_elsewhere(self, row: ActivityRow) -> bool:
        """Whether a caller that has its name and tag is busy with another activity of them."""
        return any(
            self.is_live(other.lease) and self.is_wanted(other)
            for other in self.tables.activities.values()
            if (other.new.name, other.new.tag) == (row.new.name, row.new.tag)
        )

    def matches(self, row: ActivityRow, request: ActivityRequest) -> bool:
        """Whether the caller can run it."""
        return row.new.name in request.names and row.new.tag in request.tags

    def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        """Lease what the token holds already, then the oldest that match, then the unregistered."""
        rows = sorted(self.tables.activities.values(), key=self.place_in_queue)
        held = [
            row for row in rows if self.is_held(row.lease, request.token) and self.is_wanted(row)
        ]
        free = [row for row in rows if self.is_available(row)]
        served = [row for row in free if self.matches(row, request)]
        unregistered = [row for row in free if self.is_unregistered(row, request)]
        chosen = (held + served + unregistered)[: request.limit]
        return tuple(self.give_activity(row, request) for row in chosen)

    def place_in_queue(self, row: ActivityRow) -> tuple[int, int]:
        """The oldest first; released ones come behind."""
        return (row.due, row.place)

    def give_activity(self, row: ActivityRow, request: ActivityRequest) -> LeasedActivity:
        """Lease it, unless the token holds it already."""
        if not self.is_held(row.lease, request.token):
            self.note_takeover(row)
            row.lease = Lease(request.token, self.after(request.lease_for))
            row.delivery += 1
        lease = row.lease
        if lease is None:
            raise AssertionError("an activity was given without a lease")
        return LeasedActivity(
            instance=row.instance,
            incarnation=row.incarnation,
            execution=row.execution,
            id=row.new.id,
            name=row.new.name,
            tag=row.new.tag,
            data=row.new.data,
            token=lease.token,
            until=lease.until,
            delivery=row.delivery,
            added_at=row.added_at,
            served=self.matches(row, request),
        )

    def complete_activity(self, completion: ActivityCompletion) -> None:
        """Remove the activity and put its message, or refuse."""
        lease = completion.lease
        if self.leased_row(lease) is None:
            raise ActivityLeaseLost(lease.instance, [lease.activity], operation="complete_activity")
        self.remove_activities(lease.instance, [lease.activity])
        self.put(completion.message)

    def release_activity(self, release: ActivityRelease) -> None:
        """Give the lease back, if it stands."""
        row = self.leased_row(release.lease)
        if row is None:
            self.account_for_activity(release)
            return
        row.lease = None
        row.due = self.now
        row.hidden_until = self.after(release.delay) if release.delay > timedelta(0) else None
        row.place = self.count()
        if not release.counted:
            row.delivery -= 1
        owner = self.row_of(row.instance, row.incarnation)
        if release.parked is not None and owner is not None:
            self.park(owner, release.parked)

    def account_for_activity(self, release: ActivityRelease) -> None:
        """Take back the count of a lease that was taken over while its holder lived (ACT-23)."""
        row = self.tables.activities.get((release.lease.instance, release.lease.activity))
        if row is not None and self.is_accounted(row, release.lease.token, release.counted):
            row.delivery -= 1

    def note_takeover(self, row: InstanceRow | ActivityRow) -> None:
        """Remember the lease that is being taken over."""
        if row.lease is not None:
            row.taken_from = row.lease.token

    def is_accounted(self, row: InstanceRow | ActivityRow, token: str, counted: bool) -> bool:
        """Whether a release accounts for the lease that was last taken over; it does so once."""
        if counted or row.taken_from != token:
            return False
        row.taken_from = None
        return True

    def park(self, row: InstanceRow, mark: ParkedMark) -> None:
        """Mark the instance. Marks for the same reason keep the first instant (LEASE-15)."""
        before = row.state.parked
        since = before.since if before and before.reason == mark.reason else self.now
        parked = ParkedState(reason=mark.reason, details=mark.details, since=since)
        row.state = replace(row.state, parked=parked)

    def renew_activities(
        self, leases: Sequence[ActivityLease], lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        """Extend the leases that stand; return those that are gone."""
        gone: list[ActivityLease] = []
        for lease in leases:
            row = self.leased_row(lease)
            if row is None:
                gone.append(lease)
            else:
                row.lease = Lease(lease.token, self.after(lease_for))
        return frozenset(gone)
