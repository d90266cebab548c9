"""Fills a store with ended instances: played, or on SQLite copied from a thousand that were played.

The copies are rows as ended instances leave them, with ids and incarnations of their own. Their
counts are left to the provider, which counts a file that has none when it opens it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import perdure

from benchmarks.workloads.functions import app, play_chains

_AT_ONCE = 500
_PLAYED = 1000
_PER_TRANSACTION = 10_000
_TABLES = ("perdure_instances", "perdure_executions", "perdure_events")
_CHANGED = {
    "perdure_instances": {
        "number": "number + :shift",
        "id": "id || '-' || :copy",
        "incarnation": "lower(hex(randomblob(16)))",
        "created_at": "created_at - :age",
        "started_at": "started_at - :age",
        "updated_at": "updated_at - :age",
    },
    "perdure_executions": {"instance": "instance + :shift"},
    "perdure_events": {"instance": "instance + :shift"},
}
_AN_HOUR = 3_600_000_000


async def fill(url: str, count: int) -> None:
    """Leave this many ended chains of 5 in an empty store."""
    path = _file_of(url)
    played = count if path is None else min(count, _PLAYED)
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, app):
            for begin in range(0, played, _AT_ONCE):
                await play_chains(client, f"old-{begin}", min(_AT_ONCE, played - begin))
    if path is None or count == played:
        return
    await asyncio.to_thread(_copy, path, played, count)
    async with perdure.open_provider(url) as provider:
        metrics = await perdure.Client(provider).get_system_metrics()
    if metrics.total_instances != count:
        raise RuntimeError(f"{metrics.total_instances} instances are stored, not {count}")


def bytes_in_use(url: str) -> int:
    """Of the pages of an SQLite file that are not free; 0 for another store."""
    path = _file_of(url)
    if path is None:
        return 0
    with closing(sqlite3.connect(path)) as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return (pages - free) * size


def _file_of(url: str) -> Path | None:
    scheme, _, rest = url.partition(":///")
    return Path(rest.partition("?")[0]) if scheme == "sqlite" else None


def _copy(path: Path, played: int, count: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (highest,) = connection.execute("SELECT max(number) FROM perdure_instances").fetchone()
        (earliest,) = connection.execute("SELECT min(number) FROM perdure_instances").fetchone()
        statements = [_copying(connection, table) for table in _TABLES]
        connection.execute("BEGIN")
        for copy, begin in enumerate(range(played, count, played), 1):
            last = earliest + min(played, count - begin) - 1
            values = {
                "shift": copy * (highest - earliest + 1),
                "copy": copy,
                "age": _AN_HOUR * (count // played - copy + 1),
                "last": last,
            }
            for statement in statements:
                connection.execute(statement, values)
            if copy * played % _PER_TRANSACTION == 0:
                connection.execute("COMMIT")
                connection.execute("BEGIN")
        connection.execute("DROP TABLE perdure_counts")
        connection.execute("COMMIT")


def _copying(connection: sqlite3.Connection, table: str) -> str:
    found = connection.execute(f"PRAGMA table_info({table})")
    columns = [str(name) for _, name, *_ in found]
    taken = [_CHANGED[table].get(name, name) for name in columns]
    key = "number" if table == "perdure_instances" else "instance"
    return (
        f"INSERT INTO {table} ({', '.join(columns)})"  # noqa: S608 # names of the schema
        f" SELECT {', '.join(taken)} FROM {table} WHERE {key} <= :last ORDER BY {key}"
    )
