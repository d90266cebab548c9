"""The upgrades of the schema, each from one version to the next.

An upgrade is plain SQL on the tables of its version, and never changes after its release. The
indexes of the present version are created after the last upgrade.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from sqlalchemy import Connection, text

Upgrade: TypeAlias = Callable[[Connection], None]

_INSTANCES_2: Final = """
    number INTEGER NOT NULL PRIMARY KEY,
    namespace INTEGER NOT NULL,
    id TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT,
    engine INTEGER NOT NULL,
    status TEXT NOT NULL,
    execution INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    last_event INTEGER NOT NULL,
    last_commit TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    lease_token TEXT,
    held_until INTEGER,
    released_at INTEGER NOT NULL,
    shelf INTEGER,
    ready_at INTEGER,
    arrivals INTEGER NOT NULL,
    fronts INTEGER NOT NULL,
    parked_reason TEXT,
    parked_details TEXT,
    parked_since INTEGER,
    parent_instance TEXT,
    parent_incarnation TEXT,
    parent_execution INTEGER,
    parent_event INTEGER
"""
_COLUMNS_2: Final = ", ".join(line.split()[0] for line in _INSTANCES_2.strip().splitlines())
"""The columns that version 1 has too."""


def to_version_2(connection: Connection) -> None:
    """Remove the queue of an instance; remember whose lease was last taken over.

    From version 2 on a queue is dropped while it is empty, so an instance cannot refer to one. A
    process of version 1 that still has the file open fails from here on, instead of adding work to
    a queue that was dropped.
    """
    for statement in (
        # The table is rebuilt, because SQLite before 3.35 cannot drop a column. The rename must not
        # check views of the application, which refer to a table that is missing at that moment.
        "PRAGMA legacy_alter_table=ON",
        f"CREATE TABLE perdure_instances_2 ({_INSTANCES_2}, taken_from TEXT, UNIQUE (namespace, id))",
        (
            f"INSERT INTO perdure_instances_2 ({_COLUMNS_2})"  # noqa: S608 # made of constants
            f" SELECT {_COLUMNS_2} FROM perdure_instances ORDER BY number"
        ),
        "DROP TABLE perdure_instances",
        "ALTER TABLE perdure_instances_2 RENAME TO perdure_instances",
        "PRAGMA legacy_alter_table=OFF",
        "ALTER TABLE perdure_activities ADD COLUMN taken_from TEXT",
        "DROP INDEX IF EXISTS perdure_turn_queues_by_name",
        "DROP INDEX IF EXISTS perdure_activity_queues_by_name",
    ):
        connection.execute(text(statement))
