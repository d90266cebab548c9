"""Activities: adding, leasing, completing, releasing and renewing them.

The table holds an activity as long as it may still run. The commit that ends an execution deletes
the activities that are left, so no row is ever void.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract import (
    FARTHEST_END,
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    Instant,
    LeasedActivity,
    NewActivity,
    is_in_force,
)
from perdure.errors import ActivityLeaseLost

from perdure_sqlite._operations.mailboxes import Mailboxes
from perdure_sqlite._operations.queue_heads import (
    ActivityQueueHead,
    Connection,
    QueueHead,
    activity_heads,
    in_batches,
    registered_activity_heads,
)
from perdure_sqlite._schema.ready_index import ALWAYS, BUCKETS, HIDDEN, bucket_of
from perdure_sqlite._sql.activities import (
    ACTIVITIES_IN_BUCKET,
    ADD_ACTIVITY,
    FIND_HELD_ACTIVITY,
    FIND_QUEUES_OF,
    FINISH_ACTIVITY,
    GRANT_ACTIVITY,
    LEASED_ACTIVITIES,
    LEASED_ACTIVITY_QUEUES,
    RELEASE_ACTIVITY,
    REMOVE_ACTIVITIES,
    RENEW_ACTIVITY,
    SAVE_ACTIVITY_BUCKET,
    UNCOUNT_ACTIVITY,
)
from perdure_sqlite._sql.instances import PARK
from perdure_sqlite._sql.rows import InstanceRow
from perdure_sqlite._writes.transaction import Transaction


@dataclass(slots=True, frozen=True)
class ActivityRow:
    """An activity and its instance, as `ACTIVITIES_IN_BUCKET` returns them."""

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
    transaction: Transaction,
    row: InstanceRow,
    new: NewActivity,
    *,
    token: str | None = None,
    until: Instant | None = None,
) -> None:
    """Add an activity of this instance to its queue; with a token, leased."""
    queue = transaction.activity_queue(new.name, new.tag)
    now = transaction.now
    if until is not None:
        bucket, ready_at = queue * BUCKETS + HIDDEN, until
    else:
        bucket, ready_at = _bucket_of(queue, new.visible_at, now, None, 0, now)
    row.arrivals += 1
    transaction.execute(
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
            bucket,
            ready_at,
            new.data,
            None,
        ),
    )
    transaction.note_ready_activity(bucket, ready_at)


def remove_activities(transaction: Transaction, row: InstanceRow) -> None:
    """Remove all activities of the instance, and queues that are empty then."""
    queues = {queue for (queue,) in transaction.execute(FIND_QUEUES_OF, (row.number,)).fetchall()}
    if queues:
        transaction.execute(REMOVE_ACTIVITIES, (row.number,))
        transaction.drop_empty_activity_queues(queues)


def has_activities(connection: Connection, request: ActivityRequest, now: Instant) -> bool:
    """Whether a lease call would find or change anything; this needs no write lock."""
    if request.unregistered_for is None:
        heads = registered_activity_heads(connection, request.names, request.tags)
        is_found = any(head.is_ready(now) for head in heads)
    else:
        heads = activity_heads(connection)
        registered = (head for head in heads if head.is_registered(request.names, request.tags))
        is_found = (
            any(head.is_ready(now) for head in registered)
            or bool(_unregistered(connection, heads, request, now))
            # The lease call also drops empty queues.
            or any(head.is_empty for head in heads)
        )
    if is_found:
        return True
    key = (request.token, connection.namespace, now, now + FARTHEST_END, 1)
    return bool(connection.execute(LEASED_ACTIVITIES, key).fetchall())


def lease_activities(
    transaction: Transaction, request: ActivityRequest
) -> tuple[LeasedActivity, ...]:
    """First what the token holds already, then registered activities, then unregistered ones."""
    leased = list(_held_activities(transaction, request))
    names, tags = request.names, request.tags
    if request.unregistered_for is None:
        _lease_from(
            transaction, request, registered_activity_heads(transaction, names, tags), leased
        )
        return tuple(leased)
    heads = activity_heads(transaction)
    transaction.drop_queues(activities=[head.queue for head in heads if head.is_empty])
    _lease_from(
        transaction, request, [head for head in heads if head.is_registered(names, tags)], leased
    )
    if len(leased) < request.limit:
        unregistered = _unregistered(transaction, heads, request, transaction.now)
        latest = transaction.now - to_microseconds(request.unregistered_for)
        for part in in_batches(unregistered, request.limit, transaction.now):
            _lease_from(transaction, request, part, leased, latest=latest)
    return tuple(leased)


def _unregistered(
    connection: Connection,
    heads: Iterable[ActivityQueueHead],
    request: ActivityRequest,
    now: Instant,
) -> list[ActivityQueueHead]:
    """The ready queues that the caller does not register, without those with a lease (ACT-24)."""
    ready = [
        head
        for head in heads
        if head.is_ready(now) and not head.is_registered(request.names, request.tags)
    ]
    if not ready:
        return []
    leased = connection.execute(LEASED_ACTIVITY_QUEUES, (now, now + FARTHEST_END))
    busy = {queue for (queue,) in leased}
    return [head for head in ready if head.queue not in busy]


def complete_activity(transaction: Transaction, completion: ActivityCompletion) -> None:
    """Remove the activity and put its message into the mailbox; raises `ActivityLeaseLost`."""
    lease = completion.lease
    mailboxes = Mailboxes(transaction)
    row = mailboxes.find(lease.instance)
    if row is None or not _finish(transaction, row, lease):
        raise ActivityLeaseLost(lease.instance, [lease.activity], operation="complete_activity")
    mailboxes.put(completion.message)
    mailboxes.save()


def release_activity(transaction: Transaction, release: ActivityRelease) -> None:
    """Release the lease if the token holds it; if it was taken over, take back its count."""
    lease, now = release.lease, transaction.now
    row = transaction.find(lease.instance)
    if row is None:
        return
    key = (row.number, lease.activity, lease.token)
    found = transaction.execute(FIND_HELD_ACTIVITY, key).fetchone()
    if found is None:
        if not release.counted:
            transaction.execute(UNCOUNT_ACTIVITY, key)
        return
    queue, visible_at, added_at, delivery = found
    held_until = now + to_microseconds(release.delay) if release.delay else None
    bucket, ready_at = _bucket_of(queue, visible_at, added_at, held_until, now, now)
    delivery -= 0 if release.counted else 1
    transaction.execute(
        RELEASE_ACTIVITY,
        (delivery, held_until, now, bucket, ready_at, row.number, lease.activity),
    )
    transaction.note_ready_activity(bucket, ready_at)
    if release.parked is not None:
        mark = release.parked
        transaction.execute(PARK, (mark.reason, mark.details, mark.reason, now, row.number))
        transaction.note_change(row.id)


def release_activities(transaction: Transaction, leases: Iterable[ActivityLease]) -> None:
    """Release leases that their caller never received."""
    for lease in leases:
        release_activity(transaction, ActivityRelease(lease=lease, counted=False))


def renew_activities(
    transaction: Transaction, leases: Sequence[ActivityLease], lease_for: timedelta
) -> frozenset[ActivityLease]:
    """Extend the leases that their tokens hold; returns the others."""
    end = transaction.now + to_microseconds(lease_for)
    gone: set[ActivityLease] = set()
    for lease in leases:
        key = (transaction.namespace, lease.instance, lease.activity, lease.token)
        if transaction.execute(RENEW_ACTIVITY, (end, end, *key)).rowcount == 0:
            gone.add(lease)
    transaction.next_activity_at = min(transaction.next_activity_at, end)
    return frozenset(gone)


def _finish(transaction: Transaction, row: InstanceRow, lease: ActivityLease) -> bool:
    key = (row.number, lease.activity, lease.token)
    return transaction.execute(FINISH_ACTIVITY, key).rowcount > 0


def _held_activities(
    transaction: Transaction, request: ActivityRequest
) -> Iterator[LeasedActivity]:
    now = transaction.now
    key = (request.token, transaction.namespace, now, now + FARTHEST_END, request.limit)
    for *columns, name, tag in transaction.execute(LEASED_ACTIVITIES, key).fetchall():
        row = ActivityRow(*columns)
        yield _leased(row, name, tag, request, row.held_until or 0, row.delivery)


def _lease_from(
    transaction: Transaction,
    request: ActivityRequest,
    heads: Sequence[ActivityQueueHead],
    leased: list[LeasedActivity],
    *,
    latest: Instant | None = None,
) -> None:
    """Lease from these queues until the limit is reached or no row is left to read.

    Every row that is read leaves its place, by a lease or for another bucket. With `latest`, rows
    that have not been ready for long enough leave the part of the bucket that is read.
    """
    by_queue = {head.queue: head for head in heads if head.is_ready(transaction.now)}
    while by_queue and len(leased) < request.limit:
        rows = _candidates(transaction, by_queue.values(), request.limit - len(leased), latest)
        if not rows:
            return
        for row in rows:
            since = (
                None
                if is_in_force(row.held_until, transaction.now)
                else row.visible_since(transaction.now)
            )
            if since is None or (latest is not None and max(since, row.released_at) > latest):
                _move_to_bucket(transaction, row)
            else:
                leased.append(_grant(transaction, row, by_queue[row.queue], request))


def _candidates(
    transaction: Transaction, heads: Iterable[QueueHead], count: int, latest: Instant | None
) -> list[ActivityRow]:
    """Rows that may be ready, the longest ready first."""
    found: list[tuple[Instant, int, ActivityRow]] = []
    released_until = ALWAYS if latest is None else latest
    for head in heads:
        for kind, after, until in head.spans(transaction.now, latest):
            key = (head.queue * BUCKETS + kind, after, until, released_until, count)
            for *columns, ready_at in transaction.execute(ACTIVITIES_IN_BUCKET, key).fetchall():
                found.append((ready_at, len(found), ActivityRow(*columns)))
    found.sort(key=lambda each: each[:2])
    return [row for _, _, row in found[:count]]


def _move_to_bucket(transaction: Transaction, row: ActivityRow) -> None:
    bucket, ready_at = _bucket_of(
        row.queue, row.visible_at, row.added_at, row.held_until, row.released_at, transaction.now
    )
    transaction.execute(SAVE_ACTIVITY_BUCKET, (bucket, ready_at, row.number, row.id))


def _grant(
    transaction: Transaction, row: ActivityRow, head: ActivityQueueHead, request: ActivityRequest
) -> LeasedActivity:
    until = transaction.now + to_microseconds(request.lease_for)
    delivery = row.delivery + 1
    bucket = row.queue * BUCKETS + HIDDEN
    transaction.execute(
        GRANT_ACTIVITY, (delivery, request.token, until, bucket, until, row.number, row.id)
    )
    transaction.next_activity_at = min(transaction.next_activity_at, until)
    return _leased(row, head.name, head.tag, request, until, delivery)


def _leased(
    row: ActivityRow,
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


def _bucket_of(
    queue: int,
    visible_at: Instant | None,
    added_at: Instant,
    held_until: Instant | None,
    released_at: Instant,
    now: Instant,
) -> tuple[int, Instant]:
    since = _visible_since(visible_at, added_at, now)
    bucket, ready_at = bucket_of(
        queue,
        since=since,
        due=visible_at if since is None else None,
        held_until=held_until,
        released_at=released_at,
        now=now,
    )
    if bucket is None or ready_at is None:
        raise AssertionError("an activity always has a bucket")
    return bucket, ready_at
