"""The version of a schema: making it, and bringing an older one up to date.

The schema keeps its version in `meta`. Migrating runs in one transaction under a lock, so that any
number of processes may do it at once. Each migration writes all functions. They take documents,
whose members a later version may add to, so that processes of two versions can share a schema
during a deployment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Final

from perdure.contract import FARTHEST_END
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from perdure_postgres._schema.tables import (
    SCHEMA,
    STORAGE,
    VACUUM_OF_EVENTS,
    activities,
    executions,
    instances,
    labels,
    messages,
    metadata,
    turns,
)

VERSION: Final = 2
"""The version that this package reads and writes."""

_FILES: Final = ("mailboxes", "deletion", "write", "turns", "activities", "reads")
_LISTED: Final = (instances, turns, labels, executions, messages, activities)
"""What listings and counts read directly."""
_TAKING: Final = tuple(
    f"{verb}_{what}" for verb in ("lease", "release", "renew") for what in ("turns", "activities")
)
"""The functions that take work, which a client alone does not need."""
_BEGINNING: Final = -(2**62)
"""Earlier than every instant."""
_DIALECT: Final = postgresql.dialect(paramstyle="pyformat")  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType, reportCallIssue] # the class is untyped
_SETTINGS: Final = """SECURITY DEFINER
    SET search_path = {schema}, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    SET enable_material = off SET join_collapse_limit = 1 SET jit = off
    SET lock_timeout = '{patience}'"""
"""What every function that a provider calls runs with.

Plans are kept for as long as a connection lasts, from a time when the tables may have been empty; so
the only good plan, loops over indexes in the order in which the tables are named, is the only one
allowed. Keys are joined by `= ANY (ARRAY[...])`, and rows are locked in the order of what they were
looked up by: an equality, or an order by the key itself, would make the order of an index useful to
the planner, and it reads all of a table that it takes for empty. What each orchestration calls is in
PL/pgSQL, or written so that it is inlined there: before PostgreSQL 18 other functions in SQL are
planned at each call. A lock that is not had in time ends the call, whatever the session's settings
are, and the provider makes it again.
"""
_UPGRADES: Final = {
    # Histories are packed when they end; those that ended before stay as they are.
    1: (
        "ALTER TABLE {schema}.events ADD COLUMN count smallint NOT NULL DEFAULT 1",
        "ALTER TABLE {schema}.executions ADD COLUMN history bytea",
        "ALTER TABLE {schema}.executions ALTER COLUMN history SET STORAGE EXTERNAL",
        VACUUM_OF_EVENTS,
        # With the condition that keeps searches by id from it.
        "DROP INDEX {schema}.instances_by_status",
        (
            "CREATE INDEX instances_by_status ON {schema}.instances"
            " (status, namespace, created_at DESC, number DESC) WHERE status <> ''"
        ),
    )
}
"""For each version the statements that make the next one of it."""
_PATIENCE: Final = {"@settings@": "5s", "@hurried@": "250ms"}
"""How long a function waits for a lock. Those that work for many instances at once soon leave a row that
another transaction holds, since the others wait for them; so does `write` for a group."""


def quoted(name: str) -> str:
    """The name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def creation(schema: str) -> Iterator[str]:
    """The statements that make the tables of a new schema."""
    yield f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}"
    mapped = {SCHEMA: schema}
    for table in metadata.sorted_tables:
        yield str(
            CreateTable(table).compile(
                dialect=_DIALECT, schema_translate_map=mapped, render_schema_translate=True
            )
        )
        for index in sorted(table.indexes, key=lambda each: str(each.name)):
            yield str(
                CreateIndex(index).compile(
                    dialect=_DIALECT, schema_translate_map=mapped, render_schema_translate=True
                )
            )
    for statement in STORAGE:
        yield statement.replace("{schema}", quoted(schema))


def upgrade(schema: str, found: int) -> Iterator[str]:
    """The statements that bring the tables of an older version up to date."""
    for version in range(found, VERSION):
        for statement in _UPGRADES[version]:
            yield statement.replace("{schema}", quoted(schema))


@cache
def digest() -> str:
    """A text that differs for functions that differ."""
    return hashlib.sha256("".join(functions("")).encode()).hexdigest()


def functions(schema: str) -> Iterator[str]:
    """The statements that write the functions."""
    home = files("perdure_postgres") / "_schema" / "functions"
    yield f"SET LOCAL search_path = {quoted(schema)}, pg_temp"
    # A function may be named before the file that has it.
    yield "SET LOCAL check_function_bodies = off"
    for name in _FILES:
        text = (home / f"{name}.sql").read_text("utf-8")
        for mark, patience in _PATIENCE.items():
            settings = _SETTINGS.replace("{patience}", patience)
            text = text.replace(mark, settings.replace("{schema}", quoted(schema)))
        yield (
            text.replace("@farthest@", str(FARTHEST_END)).replace("@beginning@", str(_BEGINNING))
        )


def grants(schema: str, role: str, *, client_only: bool = False) -> Iterator[str]:
    """What a role needs to be a worker or a client: no right to change a table by itself.

    With `client_only` it cannot take work: what needs a lease is then refused, too.
    """
    home, who = quoted(schema), quoted(role)
    yield f"GRANT USAGE ON SCHEMA {home} TO {who}"
    yield f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {home} TO {who}"
    if client_only:
        taking = ", ".join(f"{home}.{function}" for function in _TAKING)
        yield f"REVOKE EXECUTE ON FUNCTION {taking} FROM {who}"
    tables = ", ".join(f"{home}.{table.name}" for table in _LISTED)
    yield f"GRANT SELECT ON {tables} TO {who}"
