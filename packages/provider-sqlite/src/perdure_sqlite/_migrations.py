"""Versions of the schema, and the way from one to the next.

A file carries its version in `perdure_meta`. A new file is made in the present version; an older
one is brought forward step by step when it is opened, all or nothing, under the write lock; a
newer one is refused and left as it is. A step works on the tables as they were in its version,
never on `_tables`, which moves on.

A file that lacks a table is refused: it has lost what was in it. A missing index is made anew,
since it holds nothing that the tables do not have.
"""

from __future__ import annotations

from collections.abc import Mapping

from perdure.errors import StorageCorrupt, StorageFailed
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.schema import CreateIndex, CreateTable

from perdure_sqlite._steps import Step, to_version_2
from perdure_sqlite._tables import INDEXES, TABLES, meta

VERSION = 2
"""The version that this package reads and writes."""

_KEY = "schema_version"


STEPS: Mapping[int, Step] = {1: to_version_2}
"""By the version from which it leads to the next."""


def bring_up_to_date(
    connection: Connection, *, file: str, version: int = VERSION, steps: Mapping[int, Step] = STEPS
) -> None:
    """Make or migrate the tables, inside the caller's transaction."""
    if not names_of(connection, "table"):
        for table in TABLES:
            connection.execute(CreateTable(table))
        connection.execute(insert(meta).values(key=_KEY, value=str(version)))
        return
    if meta.name not in names_of(connection, "table"):
        raise _lacks(file, meta.name)
    found = _read_version(connection, file)
    if found > version:
        raise StorageFailed(
            f"the file {file!r} was written by a newer perdure-sqlite (schema {found}, this one"
            f" knows {version}); upgrade perdure-sqlite",
            operation="open",
        )
    for each in range(found, version):
        _step_from(each, steps, file)(connection)
    if found < version:
        connection.execute(update(meta).where(meta.c.key == _KEY).values(value=str(version)))


def complete(connection: Connection, *, file: str) -> None:
    """Raise where a table is missing, and make the indexes that are, inside the caller's transaction."""
    tables = names_of(connection, "table")
    for table in TABLES:
        if table.name not in tables:
            raise _lacks(file, table.name)
    indexes = names_of(connection, "index")
    for index in INDEXES:
        if index.name not in indexes:
            connection.execute(CreateIndex(index))


def names_of(connection: Connection, kind: str) -> frozenset[str]:
    """The names of the tables, or of the indexes, that are Perdure's."""
    # In a LIKE the underscore stands for any character.
    found = connection.execute(
        text(
            r"SELECT name FROM sqlite_master WHERE type = :kind AND name LIKE 'perdure\_%' ESCAPE '\'"
        ),
        {"kind": kind},
    )
    return frozenset(found.scalars())


def _lacks(file: str, table: str) -> StorageCorrupt:
    return StorageCorrupt(
        f"the file {file!r} lacks the table {table!r}, so what was in it is lost; restore the file"
        " from a backup",
        operation="open",
    )


def _read_version(connection: Connection, file: str) -> int:
    value = connection.execute(select(meta.c.value).where(meta.c.key == _KEY)).scalar()
    if value is None or not (value.isascii() and value.isdecimal()):
        raise StorageCorrupt(
            f"the file {file!r} has the schema version {value!r}, which is not a number;"
            " restore it from a backup",
            operation="open",
        )
    return int(value)


def _step_from(version: int, steps: Mapping[int, Step], file: str) -> Step:
    step = steps.get(version)
    if step is None:
        raise StorageFailed(
            f"the file {file!r} has schema {version}, which this perdure-sqlite cannot migrate;"
            " open it once with an older release",
            operation="open",
        )
    return step
