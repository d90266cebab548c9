"""Statements of listings and counts, built by SQLAlchemy Core and compiled once for a schema.

A listing reads ranges of instances in the order of creation, newest first. A range has one index,
which gives its rows in this order from any place on; several ranges are merged. A look reads a
bounded number of rows, and says of each whether it meets the other conditions of the query.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from perdure.contract import InstanceQuery
from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects import postgresql

from perdure_postgres._schema.tables import (
    AWAITED,
    SCHEMA,
    activities,
    executions,
    instances,
    labels,
    messages,
    turns,
)
from perdure_postgres._texts import stored

Rows: TypeAlias = "Select[*tuple[Any, ...]]"
Statement: TypeAlias = tuple[str, Mapping[str, object]]
Place: TypeAlias = tuple[int, int]
"""A time of creation and a number."""
BEGIN: Final[Place] = (2**62, 0)

_DIALECT: Final = postgresql.dialect(paramstyle="pyformat")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType, reportCallIssue] # the class is untyped
_STATUSES: Final = ("Running", "Completed", "Failed")


class Statements:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: int) -> None:
        self._schema = schema
        self._namespace = namespace

    def list_ids(self, status: str | None, place: Place, count: int) -> Statement:
        """Time of creation, number and id of instances behind a place."""
        if status == "ContinuedAsNew":
            parts = [self._range(instances.c.continued)]
        else:
            statuses = _STATUSES if status is None else (status,)
            parts = [self._range(_has_status(each)) for each in statuses]
        columns = [instances.c.id.label("id")]
        return self._render(_merged(parts, columns, place, count))

    def find(self, query: InstanceQuery, place: Place, count: int) -> Statement:
        """Time of creation and number behind a place, and whether the instance meets the query."""
        looked = _merged(self._ranges(query), [], place, count).subquery("looked")
        meets = and_(true(), *self._conditions(query))
        return self._render(
            select(looked.c.created_at, looked.c.number, meets.label("meets"))
            .select_from(
                looked.join(instances, instances.c.number == looked.c.number).join(
                    turns, turns.c.number == looked.c.number
                )
            )
            .order_by(looked.c.created_at.desc(), looked.c.number.desc())
        )

    def count_instances(self) -> Statement:
        """By status: instances, executions, events of the current ones, and of all earlier ones."""
        ended = (
            select(func.coalesce(func.sum(executions.c.event_count), 0))
            .where(
                executions.c.instance == instances.c.number,
                executions.c.execution >= instances.c.first_execution,
                executions.c.execution < instances.c.execution,
            )
            .scalar_subquery()
        )
        return self._render(
            select(
                instances.c.status,
                func.count(),
                func.sum(instances.c.execution - instances.c.first_execution + 1),
                func.sum(turns.c.last_event),
                func.sum(ended),
            )
            .select_from(instances.join(turns, turns.c.number == instances.c.number))
            .where(self._is_own, instances.c.status != AWAITED)
            .group_by(instances.c.status)
        )

    def count_queues(self, now: int, farthest: int) -> Statement:
        """Visible messages of instances without a lease, activities without one, later messages; and
        since when the first instance and the first activity can be leased."""
        is_visible = or_(messages.c.visible_at.is_(None), messages.c.visible_at <= now)
        is_due = or_(activities.c.visible_at.is_(None), activities.c.visible_at <= now)

        def is_held(rows: Table) -> ColumnElement[bool]:
            end = rows.c.held_until
            return func.coalesce(and_(end > now, end <= farthest), False)

        def is_leased(rows: Table) -> ColumnElement[bool]:
            return and_(rows.c.token.is_not(None), is_held(rows))

        def first_free(rows: Table, since: ColumnElement[Any]) -> ColumnElement[Any]:
            # The end of a lease or a delay that ran out; the greatest ignores NULL.
            end = case((rows.c.held_until <= now, rows.c.held_until))
            return func.min(func.greatest(since, rows.c.released_at, end))

        of_instances = instances.join(turns, turns.c.number == instances.c.number)
        counted = (
            select(
                func.count().filter(is_visible, ~is_leased(turns)).label("waiting"),
                func.count().filter(~is_visible).label("later"),
                first_free(turns, messages.c.due)
                .filter(is_visible, ~is_held(turns))
                .label("oldest"),
            )
            .select_from(of_instances.join(messages, messages.c.instance == instances.c.number))
            .where(self._is_own, instances.c.status == "Running")
            .subquery()
        )
        free = (
            select(
                func.count().label("count"),
                first_free(
                    activities, func.coalesce(activities.c.visible_at, activities.c.added_at)
                )
                .filter(is_due, ~is_held(activities))
                .label("oldest"),
            )
            .select_from(instances.join(activities, activities.c.instance == instances.c.number))
            .where(self._is_own, ~is_leased(activities))
            .subquery()
        )
        return self._render(
            select(
                counted.c.waiting, free.c.count, counted.c.later, counted.c.oldest, free.c.oldest
            )
        )

    @property
    def _is_own(self) -> ColumnElement[bool]:
        return instances.c.namespace == self._namespace

    def _range(self, condition: ColumnElement[bool]) -> Rows:
        return select(instances.c.created_at, instances.c.number).where(self._is_own, condition)

    def _ranges(self, query: InstanceQuery) -> list[Rows]:
        """The ranges of the condition that is usually met by the fewest."""
        if query.labels:
            key, value = sorted(query.labels.items())[0]
            return [
                select(labels.c.created_at, labels.c.instance.label("number")).where(
                    labels.c.namespace == self._namespace,
                    labels.c.key == stored(key),
                    labels.c.value == stored(value),
                )
            ]
        if query.parent is not None:
            return [self._range(instances.c.parent_instance == stored(query.parent))]
        if query.parked is True or query.parked_reasons:
            parked = select(instances.c.created_at, instances.c.number).select_from(
                turns.join(instances, instances.c.number == turns.c.number)
            )
            return [parked.where(self._is_own, turns.c.parked_reason.is_not(None))]
        if query.orchestrations:
            names = sorted(query.orchestrations)
            is_instance = instances.c.status != AWAITED
            return [
                self._range(and_(instances.c.name == stored(name), is_instance)) for name in names
            ]
        statuses = sorted(each.value for each in query.statuses) or _STATUSES
        return [self._range(_has_status(each)) for each in statuses]

    def _conditions(self, query: InstanceQuery) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = []
        if query.statuses:
            found.append(instances.c.status.in_([each.value for each in query.statuses]))
        if query.orchestrations:
            found.append(instances.c.name.in_([stored(each) for each in query.orchestrations]))
        if query.parked is not None:
            is_parked = turns.c.parked_reason.is_not(None)
            found.append(is_parked if query.parked else ~is_parked)
        if query.parked_reasons:
            found.append(
                func.coalesce(turns.c.parked_reason, "").in_(
                    [stored(each) for each in query.parked_reasons]
                )
            )
        if query.id_prefix:
            found.append(func.starts_with(instances.c.id, stored(query.id_prefix)))
        for column, first, before in (
            (instances.c.created_at, query.created_from, query.created_before),
            (turns.c.updated_at, query.updated_from, query.updated_before),
        ):
            if first is not None:
                found.append(column >= first)
            if before is not None:
                found.append(column < before)
        if query.parent is not None:
            found.append(instances.c.parent_instance == stored(query.parent))
        if query.roots_only:
            found.append(instances.c.parent_instance.is_(None))
        found.extend(
            instances.c.labels[stored(key)].astext == stored(value)
            for key, value in query.labels.items()
        )
        return found

    def _render(self, statement: Rows) -> Statement:
        compiled = statement.compile(
            dialect=_DIALECT,
            schema_translate_map={SCHEMA: self._schema},
            compile_kwargs={"render_postcompile": True},
            render_schema_translate=True,
        )
        return str(compiled), dict(compiled.params)


def _has_status(status: str) -> ColumnElement[bool]:
    # The condition of the index, which a server does not see to be met by a parameter.
    return and_(instances.c.status == status, instances.c.status != "")


def _merged(
    ranges: Sequence[Rows], columns: Sequence[ColumnElement[Any]], place: Place, count: int
) -> Rows:
    """The first rows of the ranges together behind a place, newest first."""
    parts: list[Rows] = []
    for each in ranges:
        created_at, number = each.selected_columns
        behind = tuple_(created_at, number) < tuple_(literal(place[0]), literal(place[1]))
        ordered = (
            each.add_columns(*columns)
            .where(behind)
            .order_by(created_at.desc(), number.desc())
            .limit(count)
        )
        parts.append(select(ordered.subquery()))
    both = (union_all(*parts) if len(parts) > 1 else parts[0]).subquery("merged")
    return select(both).order_by(both.c.created_at.desc(), both.c.number.desc()).limit(count)
