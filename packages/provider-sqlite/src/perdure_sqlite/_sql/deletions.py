"""Statements that remove instances, and what belongs to them, in parts of bounded size."""

from __future__ import annotations

from typing import Final

from sqlalchemy import delete, func, null, select, tuple_, update

from perdure_sqlite._schema.tables import (
    activity_queues,
    custom_statuses,
    early_events,
    early_events_by_arrival,
    events,
    executions,
    instance_values,
    instances,
    instances_by_status,
    labels,
    removals,
    turn_queues,
)
from perdure_sqlite._sql.instances import ROW_COLUMNS
from perdure_sqlite._sql.render import at_most, by, constant, given, render, render_insert

_has_number = instances.c.number == given("which")

READ_LABELS: Final = render(
    select(instances.c.created_at, instances.c.labels).where(_has_number), "which"
)
REMOVE_LABEL: Final = render(
    delete(labels).where(
        labels.c.namespace == given("namespace"),
        labels.c.key == given("key"),
        labels.c.value == given("value"),
        labels.c.created_at == given("created_at"),
        labels.c.instance == given("instance"),
    ),
    "namespace",
    "key",
    "value",
    "created_at",
    "instance",
)
REMOVE_CUSTOM_STATUS: Final = render(
    delete(custom_statuses).where(custom_statuses.c.instance == given("instance")), "instance"
)
REMOVE_INSTANCE: Final = render(delete(instances).where(_has_number), "which")
HIDE_INSTANCE: Final = render(
    update(instances)
    .where(_has_number)
    .values(namespace=-instances.c.number, bucket=null(), ready_at=null(), lease_token=null()),
    "which",
)
"""Moves the instance to a namespace of its own, where no call finds it."""
SET_FIRST_EXECUTION: Final = render(
    update(instances).where(_has_number).values(first_execution=given("new_first")),
    "new_first",
    "which",
)

ADD_REMOVAL: Final = render_insert(removals, "instance", unless_there=True)
REMOVE_REMOVAL: Final = render(
    delete(removals).where(removals.c.instance == given("instance")), "instance"
)
NEXT_REMOVAL: Final = render(
    select(removals.c.instance, instances.c.namespace, instances.c.first_execution)
    .select_from(removals.outerjoin(instances, instances.c.number == removals.c.instance))
    .order_by(removals.c.instance)
    .suffix_with(at_most("count")),
    "count",
)

EVENT_SIZES: Final = render(
    select(events.c.execution, events.c.event, func.length(events.c.data))
    .where(events.c.instance == given("instance"), events.c.execution < given("before"))
    .order_by(events.c.execution, events.c.event)
    .suffix_with(at_most("count")),
    "instance",
    "before",
    "count",
)
REMOVE_EVENTS: Final = render(
    delete(events).where(
        events.c.instance == given("instance"),
        tuple_(events.c.execution, events.c.event) <= tuple_(given("execution"), given("event")),
    ),
    "instance",
    "execution",
    "event",
)
EXECUTION_SIZES: Final = render(
    select(
        executions.c.execution,
        executions.c.event_count,
        func.coalesce(func.length(executions.c.output), constant(0))
        + func.coalesce(func.length(executions.c.history), constant(0)),
    )
    .where(executions.c.instance == given("instance"), executions.c.execution < given("before"))
    .order_by(executions.c.execution)
    .suffix_with(at_most("count")),
    "instance",
    "before",
    "count",
)
REMOVE_EXECUTIONS: Final = render(
    delete(executions).where(
        executions.c.instance == given("instance"), executions.c.execution <= given("execution")
    ),
    "instance",
    "execution",
)
REMOVE_EARLIER_EVENTS: Final = render(
    update(instances)
    .where(_has_number)
    .values(earlier_events=instances.c.earlier_events - given("removed")),
    "removed",
    "which",
)
VALUE_SIZES: Final = render(
    select(instance_values.c.key, func.length(instance_values.c.data))
    .where(instance_values.c.instance == given("instance"))
    .order_by(instance_values.c.key)
    .suffix_with(at_most("count")),
    "instance",
    "count",
)
REMOVE_VALUES: Final = render(
    delete(instance_values).where(
        instance_values.c.instance == given("instance"), instance_values.c.key <= given("key")
    ),
    "instance",
    "key",
)

EARLY_EVENT_SIZES: Final = render(
    select(early_events.c.number, func.length(early_events.c.data))
    .with_hint(early_events, by(early_events_by_arrival))
    .where(
        early_events.c.namespace == given("namespace"),
        early_events.c.arrived_at < given("arrived_before"),
    )
    .order_by(early_events.c.arrived_at)
    .suffix_with(at_most("count")),
    "namespace",
    "arrived_before",
    "count",
)
EARLY_EVENT_SIZES_OF: Final = render(
    select(early_events.c.number, func.length(early_events.c.data))
    .where(
        early_events.c.namespace == given("namespace"),
        early_events.c.instance == given("instance"),
        early_events.c.arrived_at < given("arrived_before"),
    )
    .suffix_with(at_most("count")),
    "namespace",
    "instance",
    "arrived_before",
    "count",
)
REMOVE_EARLY_EVENT: Final = render(
    delete(early_events).where(early_events.c.number == given("which")), "which"
)

INSTANCES_OF_NAMESPACE: Final = render(
    select(*(instances.c[name] for name in ROW_COLUMNS))
    .with_hint(instances, by(instances_by_status))
    .where(instances.c.namespace == given("namespace"))
    .suffix_with(at_most("count")),
    "namespace",
    "count",
)
REMOVE_TURN_QUEUES: Final = render(
    delete(turn_queues).where(turn_queues.c.namespace == given("namespace")), "namespace"
)
REMOVE_ACTIVITY_QUEUES: Final = render(
    delete(activity_queues).where(activity_queues.c.namespace == given("namespace")), "namespace"
)
