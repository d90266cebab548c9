"""Turn leases: granting, releasing and renewing them.

A lease call reads the heads of the queues, and then only queues that the caller registers and that
have work (LEASE-11). It moves a row that is in a bucket too early to its right bucket, so that the
search always ends.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import TypeAlias

from perdure.clock import to_microseconds
from perdure.contract import (
    FARTHEST_END,
    Instant,
    LeasedTurn,
    Message,
    ParkedMark,
    Serves,
    TurnLease,
    TurnRelease,
    TurnRequest,
    is_in_force,
)

from perdure_sqlite._file.errors import DamagedRecord
from perdure_sqlite._operations.mailboxes import deliver, update_bucket, visible_since
from perdure_sqlite._operations.queue_heads import (
    Connection,
    QueueHead,
    in_batches,
    registered_turn_heads,
    turn_heads,
)
from perdure_sqlite._schema.ready_index import ALWAYS, BUCKETS, HIDDEN, queue_of
from perdure_sqlite._sql.instances import (
    GRANT_TURN,
    LEASED_TURNS,
    PARK,
    READ_RUNNING,
    RELEASE_TURN,
    RENEW_TURN,
    ROW_COLUMNS,
    SAVE_TURN_BUCKET,
    TURNS_IN_BUCKET,
    UNCOUNT_TURN,
)
from perdure_sqlite._sql.rows import InstanceRow, StateColumns, state_of
from perdure_sqlite._writes.transaction import Transaction

_LOGGER = logging.getLogger("perdure.sqlite")
_ROW = len(ROW_COLUMNS)
_Mail: TypeAlias = tuple[tuple[Message, ...], bool]
"""Messages to deliver, and whether there are more."""


def has_turns(connection: Connection, request: TurnRequest, now: Instant) -> bool:
    """Whether a lease call would find or change anything; this needs no write lock."""
    serves = request.serves
    if request.unregistered_for is None:
        is_found = any(head.is_ready(now) for head in registered_turn_heads(connection, serves))
    else:
        # The lease call also drops empty queues.
        is_found = any(
            head.is_empty or (head.engine <= serves.engine and head.is_ready(now))
            for head in turn_heads(connection)
        )
    if is_found:
        return True
    key = (request.token, connection.namespace, now, now + FARTHEST_END)
    return bool(connection.execute(LEASED_TURNS, key).fetchall())


def lease_turns(transaction: Transaction, request: TurnRequest) -> tuple[LeasedTurn, ...]:
    """First what the token holds already, then registered instances, then unregistered ones."""
    serves = request.serves
    leased = list(_held_turns(transaction, request))[: request.limit]
    if request.unregistered_for is None:
        _lease_from(transaction, request, registered_turn_heads(transaction, serves), leased)
        return tuple(leased)
    heads = turn_heads(transaction)
    transaction.drop_queues(turns=[head.queue for head in heads if head.is_empty])
    _lease_from(
        transaction, request, [head for head in heads if head.is_registered(serves)], leased
    )
    if len(leased) < request.limit:
        unregistered = [
            head
            for head in heads
            if head.engine <= serves.engine and not serves.accepts(head.name, head.version)
        ]
        latest = transaction.now - to_microseconds(request.unregistered_for)
        for part in in_batches(unregistered, request.limit, transaction.now):
            _lease_from(transaction, request, part, leased, latest=latest)
    return tuple(leased)


def release_turn(transaction: Transaction, release: TurnRelease) -> None:
    """Release the lease if the token holds it; if it was taken over, take back its count."""
    lease = release.lease
    row = transaction.find(lease.instance)
    if row is None:
        return
    if not holds(row, lease.token):
        if not release.counted:
            transaction.execute(UNCOUNT_TURN, (transaction.namespace, lease.instance, lease.token))
        return
    release_lease(transaction, row, delay=release.delay, counted=release.counted)
    if release.parked is not None:
        park(transaction, row, release.parked)


def release_turns(transaction: Transaction, leases: Iterable[TurnLease]) -> None:
    """Release leases that their caller never received."""
    for lease in leases:
        release_turn(transaction, TurnRelease(lease=lease, counted=False))


def renew_turns(
    transaction: Transaction, leases: Sequence[TurnLease], lease_for: timedelta
) -> frozenset[TurnLease]:
    """Extend the leases that their tokens hold; returns the others."""
    end = transaction.now + to_microseconds(lease_for)
    gone: set[TurnLease] = set()
    for lease in leases:
        key = (transaction.namespace, lease.instance, lease.token)
        transaction.forget_row(lease.instance)
        if transaction.execute(RENEW_TURN, (end, end, end, end, *key)).rowcount == 0:
            gone.add(lease)
    transaction.next_turn_at = min(transaction.next_turn_at, end)
    return frozenset(gone)


def holds(row: InstanceRow, token: str) -> bool:
    """Whether the token holds the lease of the instance, in force or expired."""
    return row.lease_token == token


def park(transaction: Transaction, row: InstanceRow, mark: ParkedMark) -> None:
    """Mark the instance as parked; an earlier mark for the same reason keeps its time."""
    transaction.execute(PARK, (mark.reason, mark.details, mark.reason, transaction.now, row.number))
    transaction.note_change(row.id)


def release_lease(
    transaction: Transaction, row: InstanceRow, *, delay: timedelta, counted: bool
) -> None:
    """End the lease, and hide the instance for the delay."""
    now = transaction.now
    row.held_until = now + to_microseconds(delay) if delay else None
    row.released_at = now
    row.attempt -= 0 if counted else 1
    update_bucket(transaction, row)
    transaction.execute(
        RELEASE_TURN,
        (row.attempt, row.held_until, now, row.bucket, row.ready_at, row.number),
    )
    transaction.note_ready_turn(row.bucket, row.ready_at)


def _held_turns(transaction: Transaction, request: TurnRequest) -> Iterator[LeasedTurn]:
    now = transaction.now
    key = (request.token, transaction.namespace, now, now + FARTHEST_END)
    for (number,) in transaction.execute(LEASED_TURNS, key).fetchall():
        row, state = _read(transaction, number)
        turn = _leased(row, state, _mail(transaction, row), request.serves)
        if turn is not None:
            yield turn


def _lease_from(
    transaction: Transaction,
    request: TurnRequest,
    heads: Sequence[QueueHead],
    leased: list[LeasedTurn],
    *,
    latest: Instant | None = None,
) -> None:
    """Lease from these queues until the limit is reached or no row is left to read.

    Every row that is read leaves its place, by a lease or for another bucket. With `latest`, rows
    that have not been ready for long enough stay in their place, and are skipped.
    """
    ready = [head for head in heads if head.is_ready(transaction.now)]
    too_young: set[int] = set()
    while ready and len(leased) < request.limit:
        rows = _candidates(transaction, ready, request.limit - len(leased) + len(too_young), latest)
        untried = [number for _, number in rows if number not in too_young]
        if not untried:
            return
        for number in untried[: request.limit - len(leased)]:
            row, state = _read(transaction, number)
            if is_in_force(row.held_until, transaction.now):
                _move_to_bucket(transaction, row)
                continue
            mail = _mail(transaction, row)
            if latest is not None or (mail is not None and not mail[0]):
                since = visible_since(transaction, row)
                if since is None:
                    _move_to_bucket(transaction, row)
                    continue
                if latest is not None and max(since, row.released_at) > latest:
                    _move_to_bucket(transaction, row)
                    too_young.add(number)
                    continue
            _grant(transaction, row, request)
            turn = _leased(row, state, mail, request.serves)
            if turn is not None:
                leased.append(turn)


def _candidates(
    transaction: Transaction, heads: Sequence[QueueHead], count: int, latest: Instant | None
) -> list[tuple[Instant, int]]:
    """Rows that may be ready, the longest ready first: `ready_at` and number."""
    found: list[tuple[Instant, int]] = []
    now = transaction.now
    released_until = ALWAYS if latest is None else latest
    for head in heads:
        for kind, after, until in head.spans(now, latest):
            bucket = head.queue * BUCKETS + kind
            rows = transaction.execute(
                TURNS_IN_BUCKET, (bucket, after, until, released_until, count)
            )
            found.extend((ready_at, number) for number, ready_at in rows)
    found.sort()
    return found[:count]


def _read(transaction: Transaction, number: int) -> tuple[InstanceRow, StateColumns]:
    """The row of an instance, and the columns of its state."""
    columns = transaction.execute(READ_RUNNING, (number,)).fetchone()
    row = InstanceRow(*columns[:_ROW])
    transaction.forget_row(row.id)
    return row, columns[_ROW:]


def _mail(transaction: Transaction, row: InstanceRow) -> _Mail | None:
    """The visible messages, and whether there are more; None if one is damaged."""
    try:
        return deliver(transaction, row)
    except DamagedRecord as damage:
        _LOGGER.error("a turn cannot be leased: %s", damage)
        return None


def _move_to_bucket(transaction: Transaction, row: InstanceRow) -> None:
    before = row.bucket, row.ready_at
    update_bucket(transaction, row)
    if (row.bucket, row.ready_at) != before:
        transaction.execute(SAVE_TURN_BUCKET, (row.bucket, row.ready_at, row.number))


def _grant(transaction: Transaction, row: InstanceRow, request: TurnRequest) -> None:
    until = transaction.now + to_microseconds(request.lease_for)
    row.attempt += 1
    row.lease_token, row.held_until = request.token, until
    row.bucket, row.ready_at = queue_of(row.bucket or 0) * BUCKETS + HIDDEN, until
    transaction.execute(
        GRANT_TURN, (row.attempt, request.token, until, row.bucket, until, row.number)
    )
    transaction.next_turn_at = min(transaction.next_turn_at, until)


def _leased(
    row: InstanceRow, columns: StateColumns, mail: _Mail | None, serves: Serves
) -> LeasedTurn | None:
    """The leased turn, or None if its record is damaged.

    A damaged instance stays leased without a holder. It therefore blocks no other instance for as
    long as the lease lasts, and continues by itself once the file is repaired.
    """
    if mail is None:
        return None
    try:
        state = state_of(columns)
    except DamagedRecord as damage:
        _LOGGER.error("a turn cannot be leased: %s", damage)
        return None
    messages, more = mail
    return LeasedTurn(
        state=state,
        token=row.lease_token or "",
        until=row.held_until or 0,
        attempt=row.attempt,
        messages=messages,
        more=more,
        served=row.engine <= serves.engine and serves.accepts(row.name, row.version),
    )
