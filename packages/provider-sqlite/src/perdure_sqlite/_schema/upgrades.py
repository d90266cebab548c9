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


def to_version_3(connection: Connection) -> None:
    """Make room for labels, values, custom statuses and deletions; order listings by creation.

    A process of version 2 that still has the file open fails from here on, because its statements
    name the column `shelf`, which is called `bucket` now. Otherwise it would go on beside processes
    that delete and reopen instances, and take what they leave for damage.
    """
    for statement in (
        "DROP INDEX IF EXISTS perdure_instances_by_shelf",
        "DROP INDEX IF EXISTS perdure_instances_by_status",
        "DROP INDEX IF EXISTS perdure_instances_by_age",
        "DROP INDEX IF EXISTS perdure_instances_continued",
        "DROP INDEX IF EXISTS perdure_activities_by_shelf",
        "ALTER TABLE perdure_instances RENAME COLUMN shelf TO bucket",
        "ALTER TABLE perdure_instances ADD COLUMN first_execution INTEGER DEFAULT 1 NOT NULL",
        "ALTER TABLE perdure_instances ADD COLUMN last_continued INTEGER DEFAULT 0 NOT NULL",
        "ALTER TABLE perdure_instances ADD COLUMN labels TEXT",
        "ALTER TABLE perdure_instances ADD COLUMN custom_status_version INTEGER DEFAULT 0 NOT NULL",
        "ALTER TABLE perdure_instances ADD COLUMN value_count INTEGER DEFAULT 0 NOT NULL",
        # Until now, only instances that continued as new had a second execution.
        "UPDATE perdure_instances SET last_continued = execution - 1 WHERE execution > 1",
        "ALTER TABLE perdure_activities RENAME COLUMN shelf TO bucket",
        "ALTER TABLE perdure_early_events ADD COLUMN arrived_at INTEGER DEFAULT 0 NOT NULL",
        (
            "UPDATE perdure_early_events SET arrived_at = min(due, (SELECT stamp"
            " FROM perdure_namespaces WHERE number = perdure_early_events.namespace))"
        ),
        "CREATE TABLE perdure_custom_statuses (instance INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (instance))",
        (
            "CREATE TABLE perdure_values (instance INTEGER NOT NULL, key TEXT NOT NULL,"
            " data BLOB NOT NULL, PRIMARY KEY (instance, key)) WITHOUT ROWID"
        ),
        (
            "CREATE TABLE perdure_labels (namespace INTEGER NOT NULL, key TEXT NOT NULL,"
            " value TEXT NOT NULL, created_at INTEGER NOT NULL, instance INTEGER NOT NULL,"
            " PRIMARY KEY (namespace, key, value, created_at, instance)) WITHOUT ROWID"
        ),
        "CREATE TABLE perdure_removals (instance INTEGER NOT NULL, PRIMARY KEY (instance))",
    ):
        connection.execute(text(statement))


def to_version_4(connection: Connection) -> None:
    """Make room for packed histories, and keep the number of events of earlier executions.

    The histories of what has ended before stay as they are, and are read as before.

    A process of version 3 that still has the file open fails from here on, because its statements
    name the column `number` of an event, which is called `event` now. Otherwise it would take a
    packed history for one that has lost its events.
    """
    for statement in (
        "ALTER TABLE perdure_events RENAME COLUMN number TO event",
        "ALTER TABLE perdure_executions ADD COLUMN history BLOB",
        "ALTER TABLE perdure_instances ADD COLUMN earlier_events INTEGER DEFAULT 0 NOT NULL",
        (
            "UPDATE perdure_instances SET earlier_events = (SELECT coalesce(sum(event_count), 0)"
            " FROM perdure_executions WHERE instance = number"
            " AND perdure_executions.execution < perdure_instances.execution) WHERE execution > 1"
        ),
        # Made again when the file is opened, with the events of earlier executions.
        "DROP TRIGGER IF EXISTS perdure_counts_change",
        "DROP TRIGGER IF EXISTS perdure_counts_removal",
        "DROP TABLE IF EXISTS perdure_counts",
    ):
        connection.execute(text(statement))
