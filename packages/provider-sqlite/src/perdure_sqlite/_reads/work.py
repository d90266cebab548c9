"""What an instance has still to do: its activities, its messages, and its lease or delay."""

from __future__ import annotations

from perdure.contract import (
    MAX_MESSAGES_PER_DELIVERY,
    InstanceWork,
    Instant,
    QueuedActivity,
    QueuedMessage,
    first_page,
    is_in_force,
)

from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._sql.rows import kind_of
from perdure_sqlite._sql.work import FIND_WORK, READ_ACTIVITIES, READ_MESSAGES


def read_work(reader: Reader, instance: str, now: Instant) -> InstanceWork | None:
    """The queued work at one moment, or None if there is no instance."""
    with reader.snapshot():
        found = reader.execute(FIND_WORK, (reader.namespace, instance)).fetchone()
        if found is None:
            return None
        number, attempt, token, held_until = found
        key = (number, MAX_MESSAGES_PER_DELIVERY + 1)
        activities, more_activities = first_page(
            reader.execute(READ_ACTIVITIES, key), lambda columns: len(columns[3])
        )
        messages = reader.execute(READ_MESSAGES, key).fetchall()
    page = messages[:MAX_MESSAGES_PER_DELIVERY]
    is_delayed = token is None and is_in_force(held_until, now)
    return InstanceWork(
        attempt=attempt,
        leased_until=None if token is None else held_until,
        delayed_until=held_until if is_delayed else None,
        activities=tuple(_activity(*columns, now=now) for columns in activities),
        messages=tuple(
            QueuedMessage(
                id=message, kind=kind_of(instance, message, kind), size=size, visible_at=visible_at
            )
            for message, kind, size, visible_at in page
        ),
        more=more_activities or len(messages) > len(page),
    )


def _activity(
    id: str,
    name: str,
    tag: str | None,
    data: bytes,
    added_at: Instant,
    delivery: int,
    visible_at: Instant | None,
    token: str | None,
    held_until: Instant | None,
    *,
    now: Instant,
) -> QueuedActivity:
    if token is None and held_until is not None and is_in_force(held_until, now):
        # A delay hides it, whatever it was visible from.
        visible_at = max(held_until, visible_at or held_until)
    return QueuedActivity(
        id=id,
        name=name,
        tag=tag,
        data=data,
        added_at=added_at,
        delivery=delivery,
        visible_at=visible_at,
        leased_until=None if token is None else held_until,
    )
