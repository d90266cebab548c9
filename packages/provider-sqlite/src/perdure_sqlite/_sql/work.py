"""Statements that read what an instance has still to do."""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, select

from perdure_sqlite._schema.tables import activities, activity_queues, instances, messages
from perdure_sqlite._sql.render import at_most, given, render

FIND_WORK: Final = render(
    select(
        instances.c.number,
        instances.c.attempt,
        instances.c.lease_token,
        instances.c.held_until,
    ).where(instances.c.namespace == given("namespace"), instances.c.id == given("id")),
    "namespace",
    "id",
)
READ_ACTIVITIES: Final = render(
    select(
        activities.c.id,
        activity_queues.c.name,
        activity_queues.c.tag,
        activities.c.data,
        activities.c.added_at,
        activities.c.delivery,
        activities.c.visible_at,
        activities.c.lease_token,
        activities.c.held_until,
    )
    .select_from(activities.join(activity_queues, activity_queues.c.number == activities.c.queue))
    .where(activities.c.instance == given("instance"))
    .order_by(activities.c.id)
    .suffix_with(at_most("count")),
    "instance",
    "count",
)
READ_MESSAGES: Final = render(
    select(messages.c.id, messages.c.kind, func.length(messages.c.data), messages.c.visible_at)
    .where(messages.c.instance == given("instance"))
    .order_by(messages.c.place, messages.c.due, messages.c.arrival)
    .suffix_with(at_most("count")),
    "instance",
    "count",
)
