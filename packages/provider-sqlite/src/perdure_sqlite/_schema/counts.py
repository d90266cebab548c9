"""Counts of the ended instances, so that metrics do not read every instance.

Triggers keep them, in the transaction that changes an instance, whichever process and release makes
it. Running instances are left out: each of their commits would write here, and they are few enough
to be counted. The counts hold nothing that the instances lack, so a file that has none gets them
when it is opened.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Connection, Integer, MetaData, Table, Text, text
from sqlalchemy.schema import CreateTable

counts = Table(
    "perdure_counts",
    # Apart from the tables that a file must have.
    MetaData(),
    Column("namespace", Integer, primary_key=True),
    Column("status", Text, primary_key=True),
    Column("instances", Integer, nullable=False),
    Column("executions", Integer, nullable=False),
    Column("events", Integer, nullable=False),
    sqlite_with_rowid=False,
)

_COUNTED: Final = (
    *("namespace", "status", "execution", "first_execution"),
    *("last_event", "earlier_events"),
)
# A trigger that watches what every commit writes would cost each of them, though it counts nothing
# then: the number of events of an ended instance changes only together with its status.
_CHANGING: Final = tuple(column for column in _COUNTED if column != "last_event")


def _row(name: str) -> str:
    return f"({', '.join(f'{name}.{column}' for column in _COUNTED)})"


def _add(row: str, sign: str) -> str:
    return f"""
        UPDATE perdure_counts SET
            instances = instances {sign} 1,
            executions = executions {sign} ({row}.execution - {row}.first_execution + 1),
            events = events {sign} ({row}.last_event + {row}.earlier_events)
        WHERE namespace = {row}.namespace AND status = {row}.status;
    """  # noqa: S608 # made of constants


# No count has the status Running, and a deleted instance is in a namespace below zero: an update
# for such a row changes nothing.
_TRIGGERS: Final = {
    "perdure_counts_change": f"""
        CREATE TRIGGER perdure_counts_change AFTER UPDATE OF {", ".join(_CHANGING)}
        ON perdure_instances
        WHEN (OLD.status <> 'Running' OR NEW.status <> 'Running') AND {_row("OLD")} <> {_row("NEW")}
        BEGIN
            {_add("OLD", "-")}
            INSERT OR IGNORE INTO perdure_counts
                SELECT NEW.namespace, NEW.status, 0, 0, 0
                WHERE NEW.status <> 'Running' AND NEW.namespace > 0;
            {_add("NEW", "+")}
        END
    """.strip(),
    "perdure_counts_removal": f"""
        CREATE TRIGGER perdure_counts_removal AFTER DELETE ON perdure_instances
        WHEN OLD.status <> 'Running' AND OLD.namespace > 0
        BEGIN
            {_add("OLD", "-")}
        END
    """.strip(),
}
_COUNT: Final = """
    INSERT INTO perdure_counts
    SELECT namespace, status, count(*), sum(execution - first_execution + 1),
        sum(last_event + earlier_events)
    FROM perdure_instances WHERE namespace > 0 AND status <> 'Running' GROUP BY namespace, status
"""


def add_missing_counts(connection: Connection) -> None:
    """Count once in a file that does not keep its counts in this way, inside the caller's transaction."""
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master"))
    found: dict[str, str | None] = dict(rows.all())
    if counts.name in found and _TRIGGERS.items() <= found.items():
        return
    for trigger in _TRIGGERS:
        connection.execute(text(f"DROP TRIGGER IF EXISTS {trigger}"))
    connection.execute(text(f"DROP TABLE IF EXISTS {counts.name}"))
    connection.execute(CreateTable(counts))
    for statement in (*_TRIGGERS.values(), _COUNT):
        connection.execute(text(statement))
