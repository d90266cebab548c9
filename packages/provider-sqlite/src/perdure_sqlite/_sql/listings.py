"""Statements of listings: ranges of instances in the order of creation, newest first.

A range holds the instances that share one value: a status, an orchestration, a parked reason, a
parent, a label, or that they have continued as new. One index answers it, at any place in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Index, Select, and_, func, select

from perdure_sqlite._schema.tables import (
    instances,
    instances_by_name,
    instances_by_parent,
    instances_by_status,
    instances_continued,
    instances_parked,
    labels,
)
from perdure_sqlite._sql.render import at_most, by, constant, given, render, render_insert

LOOKED_AT: Final = (
    "created_at",
    "number",
    "id",
    "name",
    "status",
    "updated_at",
    "parked_reason",
    "parent_instance",
    "labels",
)
"""The columns by which a listing judges an instance."""


@dataclass(frozen=True, slots=True)
class RangeStatements:
    """The statements of the ranges of one index. Each takes the namespace and the value first."""

    read: str
    """`LOOKED_AT` of those created from the first instant on and before the second."""
    rest: str
    """`LOOKED_AT` of those created at an instant, with a number below another."""
    count: str
    """How many `read` would return, up to a limit."""


_looked_at = [instances.c[name] for name in LOOKED_AT]
_one = constant(1).label("one")


def _statements(
    rows: Select[Any],
    keys: Select[Any],
    created_at: ColumnElement[Any],
    number: ColumnElement[Any],
    *value: str,
) -> RangeStatements:
    newest_first = rows.order_by(created_at.desc(), number.desc())
    since_and_before = created_at >= given("since"), created_at < given("before")
    counted = keys.where(*since_and_before).suffix_with(at_most("limit")).subquery()
    return RangeStatements(
        read=render(newest_first.where(*since_and_before), "namespace", *value, "since", "before"),
        rest=render(
            newest_first.where(created_at == given("instant"), number < given("below")),
            "namespace",
            *value,
            "instant",
            "below",
        ),
        count=render(
            select(func.count()).select_from(counted),
            "namespace",
            *value,
            "since",
            "before",
            "limit",
        ),
    )


def _by_index(index: Index, has_value: ColumnElement[bool], *value: str) -> RangeStatements:
    rows = (
        select(*_looked_at)
        .with_hint(instances, by(index))
        .where(instances.c.namespace == given("namespace"), has_value)
    )
    keys = rows.with_only_columns(_one)
    return _statements(rows, keys, instances.c.created_at, instances.c.number, *value)


def _by_column(index: Index, column: ColumnElement[Any]) -> RangeStatements:
    return _by_index(index, column == given("value"), "value")


BY_STATUS: Final = _by_column(instances_by_status, instances.c.status)
BY_NAME: Final = _by_column(instances_by_name, instances.c.name)
BY_PARKED_REASON: Final = _by_column(instances_parked, instances.c.parked_reason)
BY_PARENT: Final = _by_column(instances_by_parent, instances.c.parent_instance)
ADD_LABEL: Final = render_insert(labels, "namespace", "key", "value", "created_at", "instance")
_has_label = and_(
    labels.c.namespace == given("namespace"),
    labels.c.key == given("key"),
    labels.c.value == given("value"),
)
BY_LABEL: Final = _statements(
    select(*_looked_at)
    .select_from(labels.join(instances, instances.c.number == labels.c.instance))
    .where(_has_label),
    select(_one).select_from(labels).where(_has_label),
    labels.c.created_at,
    labels.c.instance,
    "key",
    "value",
)
"""The value is a key and its value."""
CONTINUED: Final = _by_index(
    instances_continued,
    and_(
        (instances.c.last_continued >= instances.c.first_execution) == constant(1),
        instances.c.execution > instances.c.first_execution,
    ),
)
"""Those with an execution that has ended as ContinuedAsNew; there is no value."""


def _next(index: Index, column: ColumnElement[Any]) -> str:
    return render(
        select(func.min(column))
        .with_hint(instances, by(index))
        .where(instances.c.namespace == given("namespace"), column >= given("at_least")),
        "namespace",
        "at_least",
    )


NEXT_STATUS: Final = _next(instances_by_status, instances.c.status)
NEXT_PARKED_REASON: Final = _next(instances_parked, instances.c.parked_reason)
