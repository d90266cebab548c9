"""Activities: adding, leasing, completing, releasing and renewing them.

An activity is in the table as long as somebody may still run it. What an ended or continued
execution leaves behind is deleted by that commit, so a row that is there is never void.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    Instant,
    LeasedActivity,
    NewActivity,
)
from perdure.errors import ActivityLeaseLost

from perdure_sqlite._looking import (
    ActivityHead,
    Head,
    activity_heads,
    in_parts,
    served_activity_heads,
)
from perdure_sqlite._post import Post
from perdure_sqlite._rows import InstanceRow
from perdure_sqlite._session import Session
from perdure_sqlite._shelves import ALWAYS, HELD, REACH, SHELVES, is_live, shelve
from perdure_sqlite._sql.activities import (
    ACCOUNT_FOR_ACTIVITY,
    ADD_ACTIVITY,
    FIND_HELD_ACTIVITY,
    FIND_QUEUES_OF,
    FINISH_ACTIVITY,
    GRANT_ACTIVITY,
    LEASED_ACTIVITIES,
    RELEASE_ACTIVITY,
    REMOVE_ACTIVITIES,
    RENEW_ACTIVITY,
    SHELVE_ACTIVITY,
    SHELVED_ACTIVITIES,
)
from perdure_sqlite._sql.instances import PARK


@dataclass(slots=True, frozen=True)
class _Row:
    """An activity with its instance, as `SHELVED_ACTIVITIES` gives it."""

    number: int
    instance: str
    incarnation: str
    execution: int
    id: str
    data: bytes
    added_at: Instant
    delivery: int
    visible_at: Instant | None
    held_until: Instant | None
    released_at: Instant
    queue: int

    def visible_since(self, now: Instant) -> Instant | None:
        """Since when it has been visible, or None."""
        return _visible_since(self.visible_at, self.added_at, now)


def add_activity(
    session: Session,
    row: InstanceRow,
    new: NewActivity,
    *,
    token: str | None = None,
    until: Instant | None = None,
) -> None:
    """Put an activity of this instance into its queue, leased where there is a token."""
    queue = session.activity_queue(new.name, new.tag)
    now = session.now
    if until is not None:
        shelf, ready_at = queue * SHELVES + HELD, until
    else:
        shelf, ready_at = _shelve(queue, new.visible_at, now, None, 0, now)
    row.arrivals += 1
    session.execute(
        ADD_ACTIVITY,
        (
            row.number,
            new.id,
            queue,
            new.visible_at,
            now,
            row.arrivals,
            0 if until is None else 1,
            token,
            until,
            0,
            shelf,
            ready_at,
            new.data,
            None,
        ),
    )
    session.expect_activity(shelf, ready_at)


def remove_activities(session: Session, row: InstanceRow) -> None:
    """Remove what the instance leaves behind, and the queues that were there for it alone."""
    queues = {queue for (queue,) in session.execute(FIND_QUEUES_OF, (row.number,)).fetchall()}
    if queues:
        session.execute(REMOVE_ACTIVITIES, (row.number,))
        session.drop_empty_activity_queues(queues)


def lease_activities(session: Session, request: ActivityRequest) -> tuple[LeasedActivity, ...]:
    """What the token holds, then the oldest that match, then the unserved."""
    leased = list(_held_activities(session, request))
    names, tags = request.names, request.tags
    if request.unserved_for is None:
        _lease_from(session, request, served_activity_heads(session, names, tags), leased)
        return tuple(leased)
    heads = activity_heads(session)
    session.drop_queues(activities=[head.queue for head in heads if head.is_empty])
    _lease_from(session, request, [head for head in heads if head.is_served(names, tags)], leased)
    if len(leased) < request.limit:
        unserved = [head for head in heads if not head.is_served(names, tags)]
        latest = session.now - to_microseconds(request.unserved_for)
        for part in in_parts(unserved, request.limit, session.now):
            _lease_from(session, request, part, leased, latest=latest)
    return tuple(leased)


def complete_activity(session: Session, completion: ActivityCompletion) -> None:
    """Remove the activity and put its message into the mailbox, or refuse."""
    lease = completion.lease
    post = Post(session)
    row = post.find(lease.instance)
    if row is None or not _finish(session, row, lease):
        raise ActivityLeaseLost(lease.instance, [lease.activity], operation="complete_activity")
    post.put(completion.message)
    post.save()


def release_activity(session: Session, release: ActivityRelease) -> None:
    """Give the lease back, if it stands, or account for one that was taken over."""
    lease, now = release.lease, session.now
    row = session.find(lease.instance)
    if row is None:
        return
    key = (row.number, lease.activity, lease.token)
    found = session.execute(FIND_HELD_ACTIVITY, key).fetchone()
    if found is None:
        if not release.counted:
            session.execute(ACCOUNT_FOR_ACTIVITY, key)
        return
    queue, visible_at, added_at, delivery = found
    held_until = now + to_microseconds(release.delay) if release.delay else None
    shelf, ready_at = _shelve(queue, visible_at, added_at, held_until, now, now)
    delivery -= 0 if release.counted else 1
    session.execute(
        RELEASE_ACTIVITY,
        (delivery, held_until, now, shelf, ready_at, row.number, lease.activity),
    )
    session.expect_activity(shelf, ready_at)
    if release.parked is not None:
        mark = release.parked
        session.execute(PARK, (mark.reason, mark.details, mark.reason, now, row.number))
        session.note_change(row.id)


def release_activities(session: Session, leases: Iterable[ActivityLease]) -> None:
    """Give leases back that their caller has never seen."""
    for lease in leases:
        release_activity(session, ActivityRelease(lease=lease, counted=False))


def renew_activities(
    session: Session, leases: Sequence[ActivityLease], lease_for: timedelta
) -> frozenset[ActivityLease]:
    """Extend the leases that stand; returns the others."""
    end = session.now + to_microseconds(lease_for)
    gone: set[ActivityLease] = set()
    for lease in leases:
        key = (session.namespace, lease.instance, lease.activity, lease.token)
        if session.execute(RENEW_ACTIVITY, (end, end, *key)).rowcount == 0:
            gone.add(lease)
    session.activities_from = min(session.activities_from, end)
    return frozenset(gone)


def _finish(session: Session, row: InstanceRow, lease: ActivityLease) -> bool:
    key = (row.number, lease.activity, lease.token)
    return session.execute(FINISH_ACTIVITY, key).rowcount > 0


def _held_activities(session: Session, request: ActivityRequest) -> Iterator[LeasedActivity]:
    now = session.now
    key = (request.token, session.namespace, now, now + REACH, max(0, request.limit))
    for *columns, name, tag in session.execute(LEASED_ACTIVITIES, key).fetchall():
        row = _Row(*columns)
        yield _leased(row, name, tag, request, row.held_until or 0, row.delivery)


def _lease_from(
    session: Session,
    request: ActivityRequest,
    heads: Sequence[ActivityHead],
    leased: list[LeasedActivity],
    *,
    latest: Instant | None = None,
) -> None:
    """Lease from these queues until the limit is reached or nothing is left to look at.

    Every row that is looked at leaves its place, by a lease or for another shelf; unserved ones
    (`latest` is set) that are not old enough leave the part of the shelf that is looked at.
    """
    by_queue = {head.queue: head for head in heads if head.is_ready(session.now)}
    while by_queue and len(leased) < request.limit:
        rows = _candidates(session, by_queue.values(), request.limit - len(leased), latest)
        if not rows:
            return
        for row in rows:
            since = None if is_live(row.held_until, session.now) else row.visible_since(session.now)
            if since is None or (latest is not None and max(since, row.released_at) > latest):
                _put_back(session, row)
            else:
                leased.append(_grant(session, row, by_queue[row.queue], request))


def _candidates(
    session: Session, heads: Iterable[Head], count: int, latest: Instant | None
) -> list[_Row]:
    """Rows of the shelves that may be ready, those that stood there longest first."""
    found: list[tuple[Instant, int, _Row]] = []
    released_until = ALWAYS if latest is None else latest
    for head in heads:
        for kind, after, until in head.spans(session.now, latest):
            key = (head.queue * SHELVES + kind, after, until, released_until, count)
            for *columns, ready_at in session.execute(SHELVED_ACTIVITIES, key).fetchall():
                found.append((ready_at, len(found), _Row(*columns)))
    found.sort(key=lambda each: each[:2])
    return [row for _, _, row in found[:count]]


def _put_back(session: Session, row: _Row) -> None:
    shelf, ready_at = _shelve(
        row.queue, row.visible_at, row.added_at, row.held_until, row.released_at, session.now
    )
    session.execute(SHELVE_ACTIVITY, (shelf, ready_at, row.number, row.id))


def _grant(
    session: Session, row: _Row, head: ActivityHead, request: ActivityRequest
) -> LeasedActivity:
    until = session.now + to_microseconds(request.lease_for)
    delivery = row.delivery + 1
    shelf = row.queue * SHELVES + HELD
    session.execute(
        GRANT_ACTIVITY, (delivery, request.token, until, shelf, until, row.number, row.id)
    )
    session.activities_from = min(session.activities_from, until)
    return _leased(row, head.name, head.tag, request, until, delivery)


def _leased(
    row: _Row,
    name: str,
    tag: str | None,
    request: ActivityRequest,
    until: Instant,
    delivery: int,
) -> LeasedActivity:
    return LeasedActivity(
        instance=row.instance,
        incarnation=row.incarnation,
        execution=row.execution,
        id=row.id,
        name=name,
        tag=tag,
        data=row.data,
        token=request.token,
        until=until,
        delivery=delivery,
        added_at=row.added_at,
        served=name in request.names and tag in request.tags,
    )


def _visible_since(visible_at: Instant | None, added_at: Instant, now: Instant) -> Instant | None:
    if visible_at is None:
        return added_at
    return visible_at if visible_at <= now else None


def _shelve(
    queue: int,
    visible_at: Instant | None,
    added_at: Instant,
    held_until: Instant | None,
    released_at: Instant,
    now: Instant,
) -> tuple[int, Instant]:
    since = _visible_since(visible_at, added_at, now)
    shelf, ready_at = shelve(
        queue,
        since=since,
        due=visible_at if since is None else None,
        held_until=held_until,
        released_at=released_at,
        now=now,
    )
    if shelf is None or ready_at is None:
        raise AssertionError("an activity always has a shelf")
    return shelf, ready_at
