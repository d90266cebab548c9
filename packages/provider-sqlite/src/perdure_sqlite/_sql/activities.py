"""Statements about activities and their leases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    and_,
    delete,
    func,
    insert,
    not_,
    null,
    select,
    update,
)

from perdure_sqlite._shelves import DUE, HELD, NOW, SHELVES
from perdure_sqlite._sql.render import (
    at_most,
    by,
    constant,
    given,
    is_live,
    render,
    render_insert,
)
from perdure_sqlite._tables import (
    activities,
    activities_by_shelf,
    activities_by_token,
    activity_queues,
    activity_queues_by_key,
    instances,
)

_has_key = and_(
    activity_queues.c.namespace == given("namespace"),
    activity_queues.c.name == given("name"),
    activity_queues.c.tag.is_not_distinct_from(given("tag")),
)
FIND_ACTIVITY_QUEUE = render(
    select(activity_queues.c.number)
    .where(_has_key)
    .with_hint(activity_queues, by(activity_queues_by_key)),
    "namespace",
    "name",
    "tag",
)
ADD_ACTIVITY_QUEUE = render_insert(activity_queues, "namespace", "name", "tag")
FIND_QUEUES_OF = render(
    select(activities.c.queue).where(activities.c.instance == given("instance")), "instance"
)
DROP_EMPTY_ACTIVITY_QUEUE = render(
    delete(activity_queues).where(
        activity_queues.c.number == given("which"),
        not_(
            select(constant(1))
            .select_from(activities)
            .with_hint(activities, by(activities_by_shelf))
            .where(
                activities.c.shelf >= activity_queues.c.number * constant(SHELVES),
                activities.c.shelf < (activity_queues.c.number + constant(1)) * constant(SHELVES),
            )
            .exists()
        ),
    ),
    "which",
)
DROP_ACTIVITY_QUEUE = render(
    delete(activity_queues).where(activity_queues.c.number == given("which")), "which"
)

_is_named = and_(
    activities.c.instance == given("instance"),
    activities.c.id == given("id"),
)
_is_held = and_(_is_named, activities.c.lease_token == given("token"))

ADD_ACTIVITY = render(
    insert(activities).prefix_with("OR REPLACE"), *(column.name for column in activities.c)
)
REMOVE_ACTIVITY = render(delete(activities).where(_is_named), "instance", "id")
REMOVE_ACTIVITIES = render(
    delete(activities).where(activities.c.instance == given("instance")), "instance"
)
FINISH_ACTIVITY = render(delete(activities).where(_is_held), "instance", "id", "token")
"""Removes the activity if its lease stands: one statement is check and change."""
FIND_HELD_ACTIVITY = render(
    select(
        activities.c.queue, activities.c.visible_at, activities.c.added_at, activities.c.delivery
    ).where(_is_held),
    "instance",
    "id",
    "token",
)
_is_of_instance = (
    select(instances.c.number)
    .where(instances.c.namespace == given("namespace"), instances.c.id == given("owner"))
    .scalar_subquery()
)
RENEW_ACTIVITY = render(
    update(activities)
    .where(
        activities.c.instance == _is_of_instance,
        activities.c.id == given("which"),
        activities.c.lease_token == given("token"),
    )
    .values(
        held_until=given("new_end"),
        shelf=activities.c.queue * constant(SHELVES) + constant(HELD),
        ready_at=given("new_end"),
    ),
    "new_end",
    "new_end",
    "namespace",
    "owner",
    "which",
    "token",
)
FIND_STANDING_LEASE = render(
    select(activities.c.delivery).where(
        activities.c.instance == _is_of_instance,
        activities.c.id == given("which"),
        activities.c.lease_token == given("token"),
    ),
    "namespace",
    "owner",
    "which",
    "token",
)


def _change(*columns: str, clear: tuple[str, ...] = (), taking: bool = False) -> str:
    """Set these columns, in the order of the table, and clear the others.

    With `taking`, a lease that the row has is taken over.
    """
    values: dict[str, ColumnElement[Any]] = {name: given(f"new_{name}") for name in columns}
    values |= dict.fromkeys(clear, null())
    if taking:
        values["taken_from"] = func.coalesce(activities.c.lease_token, activities.c.taken_from)
    statement = (
        update(activities)
        .where(activities.c.instance == given("owner"), activities.c.id == given("which"))
        .values(values)
    )
    return render(statement, *(f"new_{name}" for name in columns), "owner", "which")


GRANT_ACTIVITY = _change("delivery", "lease_token", "held_until", "shelf", "ready_at", taking=True)
ACCOUNT_FOR_ACTIVITY = render(
    update(activities)
    .where(_is_named, activities.c.taken_from == given("token"))
    .values(delivery=activities.c.delivery - constant(1), taken_from=null()),
    "instance",
    "id",
    "token",
)
"""Takes back the count of a lease that was taken over while its holder lived."""
RELEASE_ACTIVITY = _change(
    "delivery", "held_until", "released_at", "shelf", "ready_at", clear=("lease_token",)
)
SHELVE_ACTIVITY = _change("shelf", "ready_at")

_leased = (
    activities.c.instance,
    instances.c.id,
    instances.c.incarnation,
    instances.c.execution,
    activities.c.id,
    activities.c.data,
    activities.c.added_at,
    activities.c.delivery,
    activities.c.visible_at,
    activities.c.held_until,
    activities.c.released_at,
    activities.c.queue,
)
"""As the fields of `ActivityRow`, where name and tag of the queue come last."""
_with_instance = activities.join(instances, instances.c.number == activities.c.instance)

LEASED_ACTIVITIES = render(
    select(*_leased, activity_queues.c.name, activity_queues.c.tag)
    .select_from(
        _with_instance.join(activity_queues, activity_queues.c.number == activities.c.queue)
    )
    .with_hint(activities, by(activities_by_token))
    .where(
        activities.c.lease_token == given("token"),
        instances.c.namespace == given("namespace"),
        is_live(activities.c.held_until),
    )
    .order_by(activities.c.added_at, activities.c.place)
    .suffix_with(at_most("count")),
    "token",
    "namespace",
    "now",
    "farthest",
    "count",
)
SHELVED_ACTIVITIES = render(
    select(*_leased, activities.c.ready_at)
    .select_from(_with_instance)
    .with_hint(activities, by(activities_by_shelf))
    .where(
        activities.c.shelf == given("shelf"),
        activities.c.ready_at > given("after"),
        activities.c.ready_at <= given("until"),
        activities.c.released_at <= given("released_until"),
    )
    .order_by(activities.c.ready_at, activities.c.place)
    .suffix_with(at_most("count")),
    "shelf",
    "after",
    "until",
    "released_until",
    "count",
)


def _shelf_end(kind: int, *, last: bool = False) -> ScalarSelect[Any]:
    end = func.max if last else func.min
    return (
        select(end(activities.c.ready_at))
        .with_hint(activities, by(activities_by_shelf))
        .where(activities.c.shelf == activity_queues.c.number * constant(SHELVES) + constant(kind))
        .scalar_subquery()
    )


_heads = select(
    activity_queues.c.number,
    _shelf_end(NOW),
    _shelf_end(DUE),
    _shelf_end(HELD),
    _shelf_end(HELD, last=True),
    activity_queues.c.name,
    activity_queues.c.tag,
).with_hint(activity_queues, by(activity_queues_by_key))
"""Of queues: the first `ready_at` of each shelf, the last of HELD, and what they serve."""
ACTIVITY_HEADS = render(
    _heads.where(activity_queues.c.namespace == given("namespace")).suffix_with(at_most("count")),
    "namespace",
    "count",
)
ACTIVITY_HEADS_OF = render(_heads.where(_has_key), "namespace", "name", "tag")
