"""Statements about instances, their executions and histories, and turn leases."""

from __future__ import annotations

from typing import Final

from sqlalchemy import and_, case, delete, func, insert, null, or_, select, update

from perdure_sqlite._schema.ready_index import BUCKETS, HIDDEN
from perdure_sqlite._schema.tables import (
    custom_statuses,
    events,
    executions,
    instances,
    instances_by_bucket,
    instances_by_token,
    namespaces,
    turn_queues,
    turn_queues_by_key,
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

RUNNING: Final = "Running"
"""The status of an instance that has not ended."""

READ_STAMP = render(
    select(namespaces.c.stamp).where(namespaces.c.number == given("which")), "which"
)
WRITE_STAMP = render(
    update(namespaces)
    .where(namespaces.c.number == given("which"))
    .values(stamp=given("new_stamp")),
    "new_stamp",
    "which",
)
_has_key = and_(
    turn_queues.c.namespace == given("namespace"),
    turn_queues.c.name == given("name"),
    turn_queues.c.version.is_not_distinct_from(given("version")),
)
FIND_TURN_QUEUE = render(
    select(turn_queues.c.number)
    .where(_has_key, turn_queues.c.engine == given("engine"))
    .with_hint(turn_queues, by(turn_queues_by_key)),
    "namespace",
    "name",
    "version",
    "engine",
)
ADD_TURN_QUEUE = render_insert(turn_queues, "namespace", "name", "version", "engine")
DROP_TURN_QUEUE = render(delete(turn_queues).where(turn_queues.c.number == given("which")), "which")

ROW_COLUMNS = (
    "number",
    "id",
    "incarnation",
    "name",
    "version",
    "engine",
    "status",
    "execution",
    "started_at",
    "last_event",
    "last_commit",
    "updated_at",
    "attempt",
    "lease_token",
    "held_until",
    "released_at",
    "bucket",
    "ready_at",
    "arrivals",
    "fronts",
    "first_execution",
)
"""The fields of `InstanceRow`."""
STATE_COLUMNS = (
    "id",
    "incarnation",
    "name",
    "version",
    "engine",
    "execution",
    "last_event",
    "last_commit",
    "status",
    "created_at",
    "updated_at",
    "parked_reason",
    "parked_details",
    "parked_since",
    "parent_instance",
    "parent_incarnation",
    "parent_execution",
    "parent_event",
    "labels",
    "custom_status_version",
    "value_count",
)
"""What `state_of` takes, followed there by custom status, output, and status of the last execution."""

_row = [instances.c[name] for name in ROW_COLUMNS]
_custom_status = (
    select(custom_statuses.c.data)
    .where(custom_statuses.c.instance == instances.c.number)
    .scalar_subquery()
)
_state = [
    *(instances.c[name] for name in STATE_COLUMNS),
    # The other table is not read if there is none.
    case((instances.c.custom_status_version > constant(0), _custom_status)).label("custom_status"),
]
_with_end = instances.outerjoin(
    executions,
    and_(
        executions.c.instance == instances.c.number,
        executions.c.execution == instances.c.execution,
    ),
)
_is_named = and_(instances.c.namespace == given("namespace"), instances.c.id == given("id"))
_has_number = instances.c.number == given("which")

FIND_INSTANCE = render(select(*_row).where(_is_named), "namespace", "id")
READ_RUNNING = render(
    select(*_row, *_state, null().label("output"), null().label("ended_as")).where(_has_number),
    "which",
)
"""The row of a running instance, and behind it what `state_of` takes."""
READ_INSTANCE = render(
    select(*_state, executions.c.output, executions.c.status.label("ended_as"))
    .select_from(_with_end)
    .where(_is_named),
    "namespace",
    "id",
)
READ_LISTED = render(
    select(*_state, executions.c.output, executions.c.status.label("ended_as"))
    .select_from(_with_end)
    .where(_has_number),
    "which",
)
READ_CHANGE_MARKS = render(
    select(
        instances.c.status,
        instances.c.last_commit,
        instances.c.parked_reason,
        instances.c.parked_details,
        instances.c.parked_since,
    ).where(_is_named),
    "namespace",
    "id",
)

ADD_INSTANCE = render_insert(
    instances,
    "namespace",
    "id",
    "incarnation",
    "name",
    "version",
    "engine",
    "status",
    "execution",
    "started_at",
    "last_event",
    "created_at",
    "updated_at",
    "attempt",
    "released_at",
    "bucket",
    "ready_at",
    "arrivals",
    "fronts",
    "parent_instance",
    "parent_incarnation",
    "parent_execution",
    "parent_event",
    "labels",
)


def _change(*columns: str, clear: tuple[str, ...] = (), takes_over: bool = False) -> str:
    return set_columns(
        instances, _has_number, "which", columns=columns, clear=clear, takes_over=takes_over
    )


SAVE_ARRIVALS = _change("bucket", "ready_at", "arrivals", "fronts")
SAVE_TURN_BUCKET = _change("bucket", "ready_at")
GRANT_TURN = _change("attempt", "lease_token", "held_until", "bucket", "ready_at", takes_over=True)
RELEASE_TURN = _change(
    "attempt", "held_until", "released_at", "bucket", "ready_at", clear=("lease_token",)
)
END_DELAY = _change(clear=("held_until",))
UNCOUNT_TURN = render(uncount(instances, _is_named, "attempt"), "namespace", "id", "token")
PARK = render(
    update(instances)
    .where(_has_number)
    .values(
        parked_reason=given("new_reason"),
        parked_details=given("new_details"),
        parked_since=case(
            (instances.c.parked_reason == given("same_reason"), instances.c.parked_since),
            else_=given("since"),
        ),
    ),
    "new_reason",
    "new_details",
    "same_reason",
    "since",
    "which",
)

_CLEARED = ("parked_reason", "parked_details", "parked_since", "taken_from")
"""The columns that every commit clears."""
_PROGRESS = ("last_event", "last_commit", "updated_at", "attempt", "held_until", "released_at")
_MAILBOX = ("bucket", "ready_at", "arrivals", "fronts")
# Columns of other indexes are written only when they change, so that commits leave those alone.
COMMIT_KEEPING = _change(*_PROGRESS, *_MAILBOX, clear=_CLEARED)
COMMIT_RELEASING = _change(*_PROGRESS, *_MAILBOX, clear=("lease_token", *_CLEARED))
COMMIT_ENDING = _change("status", *_PROGRESS, *_MAILBOX, clear=("lease_token", *_CLEARED))
CHANGE_PIN = _change("version", "engine")


def _begin_execution(*columns: str) -> str:
    names = [f"new_{name}" for name in columns]
    values = {name: given(new) for name, new in zip(columns, names, strict=True)}
    earlier = instances.c.earlier_events + given("ended_events")
    return render(
        update(instances).where(_has_number).values(**values, earlier_events=earlier),
        *names,
        "ended_events",
        "which",
    )


CONTINUE_EXECUTION = _begin_execution("execution", "started_at", "last_continued")
REOPEN_INSTANCE = _begin_execution("status", "execution", "started_at")
ADD_EXECUTION = render_insert(
    executions,
    "instance",
    "execution",
    "status",
    "event_count",
    "started_at",
    "completed_at",
    "output",
    "history",
)
ADD_EVENT = render(insert(events), "instance", "execution", "event", "data")
READ_EVENTS = render(
    select(events.c.event, events.c.data)
    .where(
        events.c.instance == given("instance"),
        events.c.execution == given("execution"),
        events.c.event > given("after"),
    )
    .order_by(events.c.event)
    .suffix_with(at_most("count")),
    "instance",
    "execution",
    "after",
    "count",
)

READ_EVENTS_UP_TO = render(
    select(events.c.event, case((func.length(events.c.data) <= given("largest"), events.c.data)))
    .where(events.c.instance == given("instance"), events.c.execution == given("execution"))
    .order_by(events.c.event),
    "largest",
    "instance",
    "execution",
)
"""Their data only up to a size."""
REMOVE_HISTORY = render(
    delete(events).where(
        events.c.instance == given("instance"), events.c.execution == given("execution")
    ),
    "instance",
    "execution",
)
READ_ENDED_HISTORY = render(
    select(executions.c.event_count, executions.c.history).where(
        executions.c.instance == given("instance"), executions.c.execution == given("execution")
    ),
    "instance",
    "execution",
)

_new_end = given("new_end")
_is_hidden_later = and_(
    instances.c.bucket.is_not(None),
    or_(
        instances.c.bucket % constant(BUCKETS) == constant(HIDDEN),
        instances.c.ready_at < _new_end,
    ),
)
RENEW_TURN = render(
    update(instances)
    .where(_is_named, instances.c.lease_token == given("token"))
    .values(
        held_until=_new_end,
        bucket=case(
            (
                _is_hidden_later,
                instances.c.bucket - instances.c.bucket % constant(BUCKETS) + constant(HIDDEN),
            ),
            else_=instances.c.bucket,
        ),
        ready_at=case((_is_hidden_later, _new_end), else_=instances.c.ready_at),
    ),
    "new_end",
    "new_end",
    "new_end",
    "new_end",
    "namespace",
    "id",
    "token",
)
LEASED_TURNS = render(
    select(instances.c.number)
    .with_hint(instances, by(instances_by_token))
    .where(
        instances.c.lease_token == given("token"),
        instances.c.namespace == given("namespace"),
        is_live(instances.c.held_until),
    )
    .order_by(instances.c.number),
    "token",
    "namespace",
    "now",
    "farthest",
)
TURNS_IN_BUCKET = rows_in_bucket(
    select(instances.c.number, instances.c.ready_at),
    instances,
    instances_by_bucket,
    instances.c.ready_at,
)

_heads = queue_heads(turn_queues, turn_queues_by_key, instances, instances_by_bucket)
TURN_HEADS = all_queue_heads(_heads, turn_queues)
TURN_HEADS_OF = render(
    _heads.where(_has_key, turn_queues.c.engine <= given("engine")),
    "namespace",
    "name",
    "version",
    "engine",
)
