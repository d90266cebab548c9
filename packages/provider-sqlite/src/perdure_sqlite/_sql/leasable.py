"""What the statements about instances and about activities have in common.

Both tables have the columns of a lease and of the ready index, under the same names.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Index,
    ScalarSelect,
    Select,
    Table,
    Update,
    and_,
    func,
    null,
    select,
    update,
)

from perdure_sqlite._schema.ready_index import BUCKETS, HIDDEN, READY, SCHEDULED
from perdure_sqlite._sql.render import at_most, by, constant, given, render


def is_live(end: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a lease or a delay with this end is in force."""
    return and_(end > given("now"), end <= given("farthest"))


def set_columns(
    table: Table,
    key: ColumnElement[bool],
    *key_parameters: str,
    columns: tuple[str, ...],
    clear: tuple[str, ...] = (),
    takes_over: bool = False,
) -> str:
    """The update of one row: sets `columns` from parameters before those of the key, clears `clear`.

    The columns are in the order of the table. With `takes_over`, the row remembers the token of the
    lease that is replaced.
    """
    values: dict[str, ColumnElement[Any]] = {name: given(f"new_{name}") for name in columns}
    values |= dict.fromkeys(clear, null())
    if takes_over:
        values["taken_from"] = func.coalesce(table.c.lease_token, table.c.taken_from)
    statement = update(table).where(key).values(values)
    return render(statement, *(f"new_{name}" for name in columns), *key_parameters)


def uncount(table: Table, key: ColumnElement[bool], counter: str) -> Update:
    """Take back the count of a lease that another caller took over while its holder was alive."""
    return (
        update(table)
        .where(key, table.c.taken_from == given("token"))
        .values({counter: table.c[counter] - constant(1), "taken_from": null()})
    )


def rows_in_bucket(
    rows: Select[*tuple[Any, ...]], table: Table, index: Index, *order: ColumnElement[Any]
) -> str:
    """The rows of a bucket whose `ready_at` and last release lie within the limits given."""
    return render(
        rows.with_hint(table, by(index))
        .where(
            table.c.bucket == given("bucket"),
            table.c.ready_at > given("after"),
            table.c.ready_at <= given("until"),
            table.c.released_at <= given("released_until"),
        )
        .order_by(*order)
        .suffix_with(at_most("count")),
        "bucket",
        "after",
        "until",
        "released_until",
        "count",
    )


def queue_heads(
    queues: Table, queues_by_key: Index, rows: Table, rows_by_bucket: Index
) -> Select[*tuple[Any, ...]]:
    """Of queues: number, the first `ready_at` of each bucket, the last of HIDDEN, and the key."""

    def bucket_end(kind: int, *, last: bool = False) -> ScalarSelect[Any]:
        end = func.max if last else func.min
        return (
            select(end(rows.c.ready_at))
            .with_hint(rows, by(rows_by_bucket))
            .where(rows.c.bucket == queues.c.number * constant(BUCKETS) + constant(kind))
            .scalar_subquery()
        )

    key = [column for column in queues.c if column.name not in ("number", "namespace")]
    return select(
        queues.c.number,
        bucket_end(READY),
        bucket_end(SCHEDULED),
        bucket_end(HIDDEN),
        bucket_end(HIDDEN, last=True),
        *key,
    ).with_hint(queues, by(queues_by_key))


def all_queue_heads(heads: Select[*tuple[Any, ...]], queues: Table) -> str:
    """The heads of the queues of a namespace, up to a number."""
    return render(
        heads.where(queues.c.namespace == given("namespace")).suffix_with(at_most("count")),
        "namespace",
        "count",
    )
