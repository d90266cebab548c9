"""Statements about activities and their leases."""

from __future__ import annotations

from sqlalchemy import and_, delete, insert, not_, select, update

from perdure_sqlite._schema.ready_index import BUCKETS, HIDDEN
from perdure_sqlite._schema.tables import (
    activities,
    activities_by_bucket,
    activities_by_token,
    activity_queues,
    activity_queues_by_key,
    instances,
)
from perdure_sqlite._sql.leasable import (
    all_queue_heads,
    is_live,
    queue_heads,
    rows_in_bucket,
    set_columns,
    uncount,
)
from perdure_sqlite._sql.render import at_most, by, constant, given, render, render_insert

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
            .with_hint(activities, by(activities_by_bucket))
            .where(
                activities.c.bucket >= activity_queues.c.number * constant(BUCKETS),
                activities.c.bucket < (activity_queues.c.number + constant(1)) * constant(BUCKETS),
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

ADD_ACTIVITY = render(insert(activities).prefix_with("OR REPLACE"), *activities.c.keys())
REMOVE_ACTIVITY = render(delete(activities).where(_is_named), "instance", "id")
REMOVE_ACTIVITIES = render(
    delete(activities).where(activities.c.instance == given("instance")), "instance"
)
FINISH_ACTIVITY = render(delete(activities).where(_is_held), "instance", "id", "token")
"""Removes the activity if the token holds its lease: checks and changes in one statement."""
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
        bucket=activities.c.queue * constant(BUCKETS) + constant(HIDDEN),
        ready_at=given("new_end"),
    ),
    "new_end",
    "new_end",
    "namespace",
    "owner",
    "which",
    "token",
)
FIND_ACTIVITY_LEASE = render(
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


def _change(*columns: str, clear: tuple[str, ...] = (), takes_over: bool = False) -> str:
    return set_columns(
        activities,
        _is_named,
        "instance",
        "id",
        columns=columns,
        clear=clear,
        takes_over=takes_over,
    )


GRANT_ACTIVITY = _change(
    "delivery", "lease_token", "held_until", "bucket", "ready_at", takes_over=True
)
UNCOUNT_ACTIVITY = render(uncount(activities, _is_named, "delivery"), "instance", "id", "token")
RELEASE_ACTIVITY = _change(
    "delivery", "held_until", "released_at", "bucket", "ready_at", clear=("lease_token",)
)
SAVE_ACTIVITY_BUCKET = _change("bucket", "ready_at")

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
"""The fields of `ActivityRow`."""
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
LEASED_ACTIVITY_QUEUES = render(
    select(activities.c.queue)
    .with_hint(activities, by(activities_by_token))
    .where(activities.c.lease_token.is_not(None), is_live(activities.c.held_until)),
    "now",
    "farthest",
)
"""The queue of each activity whose lease is in force, in all namespaces."""
ACTIVITIES_IN_BUCKET = rows_in_bucket(
    select(*_leased, activities.c.ready_at).select_from(_with_instance),
    activities,
    activities_by_bucket,
    activities.c.ready_at,
    activities.c.place,
)

_heads = queue_heads(activity_queues, activity_queues_by_key, activities, activities_by_bucket)
ACTIVITY_HEADS = all_queue_heads(_heads, activity_queues)
ACTIVITY_HEADS_OF = render(_heads.where(_has_key), "namespace", "name", "tag")
