"""Turn leases: giving, releasing and renewing them.

A lease call looks at the first row of each shelf of each queue, and then only into queues that
the caller serves and that have something (LEASE-11). A row that stands on a shelf too early is
put back where it belongs, so that looking always comes to an end.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract import (
    Instant,
    LeasedTurn,
    ParkedMark,
    Serves,
    TurnLease,
    TurnRelease,
    TurnRequest,
)

from perdure_sqlite._failures import Damaged
from perdure_sqlite._looking import Head, in_parts, served_turn_heads, turn_heads
from perdure_sqlite._post import deliver, reshelve, visible_since
from perdure_sqlite._rows import InstanceRow, state_of
from perdure_sqlite._session import Session
from perdure_sqlite._shelves import ALWAYS, HELD, REACH, SHELVES, is_live, queue_of
from perdure_sqlite._sql.instances import (
    ACCOUNT_FOR_TURN,
    GRANT_TURN,
    LEASED_TURNS,
    PARK,
    READ_ROW,
    READ_RUNNING_STATE,
    RELEASE_TURN,
    RENEW_TURN,
    SAVE_SHELF,
    SHELVED_TURNS,
)

_LOGGER = logging.getLogger("perdure.sqlite")


def lease_turns(session: Session, request: TurnRequest) -> tuple[LeasedTurn, ...]:
    """What the token holds, then the ready instances that match, then the unserved."""
    serves = request.serves
    leased = list(_held_turns(session, request))[: max(0, request.limit)]
    if request.unserved_for is None:
        _lease_from(session, request, served_turn_heads(session, serves), leased)
        return tuple(leased)
    heads = turn_heads(session)
    session.drop_queues(turns=[head.queue for head in heads if head.is_empty])
    _lease_from(session, request, [head for head in heads if head.is_served(serves)], leased)
    if len(leased) < request.limit:
        unserved = [
            head
            for head in heads
            if head.engine <= serves.engine and not serves.accepts(head.name, head.version)
        ]
        latest = session.now - to_microseconds(request.unserved_for)
        for part in in_parts(unserved, request.limit, session.now):
            _lease_from(session, request, part, leased, latest=latest)
    return tuple(leased)


def release_turn(session: Session, release: TurnRelease) -> None:
    """Give the lease back, if it stands, or account for one that was taken over."""
    lease = release.lease
    row = session.find(lease.instance)
    if row is None:
        return
    if not holds(row, lease.token):
        if not release.counted:
            session.execute(ACCOUNT_FOR_TURN, (session.namespace, lease.instance, lease.token))
        return
    let_go(session, row, delay=release.delay, counted=release.counted)
    if release.parked is not None:
        park(session, row, release.parked)


def release_turns(session: Session, leases: Iterable[TurnLease]) -> None:
    """Give leases back that their caller has never seen."""
    for lease in leases:
        release_turn(session, TurnRelease(lease=lease, counted=False))


def renew_turns(
    session: Session, leases: Sequence[TurnLease], lease_for: timedelta
) -> frozenset[TurnLease]:
    """Extend the leases that stand; returns the others."""
    end = session.now + to_microseconds(lease_for)
    gone: set[TurnLease] = set()
    for lease in leases:
        key = (session.namespace, lease.instance, lease.token)
        if session.execute(RENEW_TURN, (end, end, end, end, *key)).rowcount == 0:
            gone.add(lease)
    session.turns_from = min(session.turns_from, end)
    return frozenset(gone)


def holds(row: InstanceRow, token: str) -> bool:
    """Whether the token has a lease of the instance that stands, live or expired."""
    return row.lease_token == token


def park(session: Session, row: InstanceRow, mark: ParkedMark) -> None:
    """Mark the instance; the time of an earlier mark for the same reason stays."""
    session.execute(PARK, (mark.reason, mark.details, mark.reason, session.now, row.number))
    session.note_change(row.id)


def let_go(session: Session, row: InstanceRow, *, delay: timedelta, counted: bool) -> None:
    """End the lease, and hide the instance for the delay."""
    now = session.now
    row.held_until = now + to_microseconds(delay) if delay else None
    row.released_at = now
    row.attempt -= 0 if counted else 1
    reshelve(session, row)
    session.execute(
        RELEASE_TURN,
        (row.attempt, row.held_until, now, row.shelf, row.ready_at, row.number),
    )
    session.expect_turn(row.shelf, row.ready_at)


def _held_turns(session: Session, request: TurnRequest) -> Iterator[LeasedTurn]:
    now = session.now
    key = (request.token, session.namespace, now, now + REACH)
    for (number,) in session.execute(LEASED_TURNS, key).fetchall():
        turn = _leased(session, _read(session, number), request.serves)
        if turn is not None:
            yield turn


def _lease_from(
    session: Session,
    request: TurnRequest,
    heads: Sequence[Head],
    leased: list[LeasedTurn],
    *,
    latest: Instant | None = None,
) -> None:
    """Lease from these queues until the limit is reached or nothing is left to look at.

    Every row that is looked at leaves its place, by a lease or for another shelf; unserved ones
    (`latest` is set) that are ready but not old enough stay, and are passed over by `after`.
    """
    ready = [head for head in heads if head.is_ready(session.now)]
    young: set[int] = set()
    while ready and len(leased) < request.limit:
        rows = _candidates(session, ready, request.limit - len(leased) + len(young), latest)
        fresh = [number for _, number in rows if number not in young]
        if not fresh:
            return
        for number in fresh[: request.limit - len(leased)]:
            row = _read(session, number)
            since = None if is_live(row.held_until, session.now) else visible_since(session, row)
            if since is None:
                _put_back(session, row)
            elif latest is not None and max(since, row.released_at) > latest:
                _put_back(session, row)
                young.add(number)
            else:
                turn = _grant(session, row, request)
                if turn is not None:
                    leased.append(turn)


def _candidates(
    session: Session, heads: Sequence[Head], count: int, latest: Instant | None
) -> list[tuple[Instant, int]]:
    """Rows of the shelves that may be ready, those that stood there longest first."""
    found: list[tuple[Instant, int]] = []
    now = session.now
    released_until = ALWAYS if latest is None else latest
    for head in heads:
        for kind, after, until in head.spans(now, latest):
            shelf = head.queue * SHELVES + kind
            rows = session.execute(SHELVED_TURNS, (shelf, after, until, released_until, count))
            found.extend((ready_at, number) for number, ready_at in rows)
    found.sort()
    return found[:count]


def _read(session: Session, number: int) -> InstanceRow:
    return InstanceRow(*session.execute(READ_ROW, (number,)).fetchone())


def _put_back(session: Session, row: InstanceRow) -> None:
    before = row.shelf, row.ready_at
    reshelve(session, row)
    if (row.shelf, row.ready_at) != before:
        session.execute(SAVE_SHELF, (row.shelf, row.ready_at, row.number))


def _grant(session: Session, row: InstanceRow, request: TurnRequest) -> LeasedTurn | None:
    until = session.now + to_microseconds(request.lease_for)
    row.attempt += 1
    row.lease_token, row.held_until = request.token, until
    row.shelf, row.ready_at = queue_of(row.shelf or 0) * SHELVES + HELD, until
    session.execute(GRANT_TURN, (row.attempt, request.token, until, row.shelf, until, row.number))
    session.turns_from = min(session.turns_from, until)
    return _leased(session, row, request.serves)


def _leased(session: Session, row: InstanceRow, serves: Serves) -> LeasedTurn | None:
    """The turn, or None where what is stored cannot be understood.

    Such an instance stays leased, to nobody who knows: so it is in nobody's way for as long as a
    lease lasts, and goes on by itself when the file was repaired.
    """
    try:
        state = state_of(session.execute(READ_RUNNING_STATE, (row.number,)).fetchone())
        messages, more = deliver(session, row)
    except Damaged as damage:
        _LOGGER.error("a turn is not leased: %s", damage)
        return None
    return LeasedTurn(
        state=state,
        token=row.lease_token or "",
        until=row.held_until or 0,
        attempt=row.attempt,
        messages=messages,
        more=more,
        served=row.engine <= serves.engine and serves.accepts(row.name, row.version),
    )
