"""Statements of the management capability."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, and_, case, func, not_, or_, select, union_all

from perdure_sqlite._schema.counts import counts
from perdure_sqlite._schema.tables import (
    activities,
    activity_queues,
    executions,
    instances,
    instances_by_status,
    messages,
)
from perdure_sqlite._sql.instances import RUNNING
from perdure_sqlite._sql.leasable import is_live
from perdure_sqlite._sql.mailboxes import FRONT
from perdure_sqlite._sql.render import by, constant, given, render

_in_namespace = instances.c.namespace == given("namespace")
FIND_EXECUTIONS = render(
    select(
        instances.c.number,
        instances.c.status,
        instances.c.execution,
        instances.c.last_event,
        instances.c.started_at,
        instances.c.first_execution,
    ).where(_in_namespace, instances.c.id == given("id")),
    "namespace",
    "id",
)
LIST_EXECUTIONS = render(
    select(
        executions.c.execution,
        executions.c.status,
        executions.c.output,
        executions.c.event_count,
        executions.c.started_at,
        executions.c.completed_at,
    )
    .where(
        executions.c.instance == given("instance"),
        executions.c.execution >= given("first"),
        executions.c.execution <= given("last"),
    )
    .order_by(executions.c.execution),
    "instance",
    "first",
    "last",
)
FIND_ENDED = render(
    select(executions.c.execution)
    .where(executions.c.instance == given("instance"), executions.c.execution >= given("first"))
    .order_by(executions.c.execution),
    "instance",
    "first",
)
"""The numbers of the executions that have ended, without their outputs."""
_is_running = instances.c.status == constant(RUNNING)
COUNT_INSTANCES = render(
    union_all(
        select(counts.c.status, counts.c.instances, counts.c.executions, counts.c.events).where(
            counts.c.namespace == given("namespace")
        ),
        select(
            instances.c.status,
            func.count(),
            func.sum(instances.c.execution - instances.c.first_execution + constant(1)),
            func.sum(instances.c.last_event + instances.c.earlier_events),
        )
        .with_hint(instances, by(instances_by_status))
        .where(_in_namespace, _is_running)
        .group_by(instances.c.status),
    ),
    "namespace",
    "namespace",
)
"""By status: instances, executions and events."""
_is_visible = or_(messages.c.visible_at.is_(None), messages.c.visible_at <= given("now"))
_is_leased = and_(instances.c.lease_token.is_not(None), is_live(instances.c.held_until))


def _since(
    table: Table, is_visible: ColumnElement[bool], since: ColumnElement[Any]
) -> ColumnElement[Any]:
    """Since when the first of the rows that are visible and not hidden can be leased.

    A row waits at the earliest from its last release, or the end of what hid it.
    """
    end = table.c.held_until
    is_hidden = func.coalesce(is_live(end), constant(0))
    # Of several values, max is that of a row.
    waits = func.max(
        since, table.c.released_at, case((end <= given("now"), end), else_=constant(0))
    )
    return func.min(case((and_(is_visible, not_(is_hidden)), waits)))


COUNT_MESSAGES = render(
    select(
        func.coalesce(
            func.sum(and_(_is_visible, not_(func.coalesce(_is_leased, constant(0))))), constant(0)
        ),
        func.coalesce(func.sum(not_(_is_visible)), constant(0)),
        # A commit puts messages to the front before it releases its lease, or before that runs out.
        _since(
            instances,
            _is_visible,
            case((messages.c.place == constant(FRONT), constant(0)), else_=messages.c.due),
        ),
    )
    .select_from(instances.join(messages, messages.c.instance == instances.c.number))
    .with_hint(instances, by(instances_by_status))
    .where(_in_namespace, _is_running),
    "now",
    "now",
    "farthest",
    "now",
    "now",
    "now",
    "farthest",
    "now",
    "namespace",
)
"""Visible messages of instances without a live lease, messages that are not visible yet, and since
when the first instance can be leased."""
COUNT_ACTIVITIES = render(
    select(
        func.count(),
        _since(
            activities,
            or_(activities.c.visible_at.is_(None), activities.c.visible_at <= given("now")),
            func.coalesce(activities.c.visible_at, activities.c.added_at),
        ),
    )
    .select_from(activities.join(activity_queues, activity_queues.c.number == activities.c.queue))
    # The primary key: the planner would take a narrower index, and then look up each row.
    .with_hint(activities, "INDEXED BY sqlite_autoindex_perdure_activities_1")
    .where(
        activity_queues.c.namespace == given("namespace"),
        or_(
            activities.c.lease_token.is_(None),
            activities.c.held_until <= given("now"),
            activities.c.held_until > given("farthest"),
        ),
    ),
    "now",
    "now",
    "farthest",
    "now",
    "namespace",
    "now",
    "farthest",
)
"""Activities without a live lease, and since when the first of them can be leased."""
