"""The version of a file's schema, and bringing older files up to date.

A file stores its version in `perdure_meta`. A new file is created in the present version. Opening
an older file upgrades it version by version, in one transaction under the write lock. A newer file
is refused and left unchanged.

A file that lacks a table is refused, because the data of that table is lost. A missing index is
created again, because it holds nothing that the tables lack.
"""

from __future__ import annotations

from collections.abc import Mapping

from perdure.errors import StorageCorrupt, StorageFailed
from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.schema import CreateIndex, CreateTable

from perdure_sqlite._schema.tables import INDEXES, TABLES, meta
from perdure_sqlite._schema.upgrades import Upgrade, to_version_2, to_version_3, to_version_4

VERSION = 4
"""The version that this package reads and writes."""

_KEY = "schema_version"


UPGRADES: Mapping[int, Upgrade] = {1: to_version_2, 2: to_version_3, 3: to_version_4}
"""By the version that each upgrades to the next one."""


def migrate(
    connection: Connection,
    *,
    file: str,
    version: int = VERSION,
    upgrades: Mapping[int, Upgrade] = UPGRADES,
) -> None:
    """Create the tables or upgrade them, inside the caller's transaction."""
    if not names_of(connection, "table"):
        for table in TABLES:
            connection.execute(CreateTable(table))
        connection.execute(insert(meta).values(key=_KEY, value=str(version)))
        return
    if meta.name not in names_of(connection, "table"):
        raise _missing(file, meta.name)
    found = _read_version(connection, file)
    if found > version:
        raise StorageFailed(
            f"the file {file!r} was written by a newer perdure-sqlite (schema {found}, this one"
            f" knows {version}); upgrade perdure-sqlite",
            operation="open",
        )
    for each in range(found, version):
        _upgrade_from(each, upgrades, file)(connection)
    if found < version:
        connection.execute(update(meta).where(meta.c.key == _KEY).values(value=str(version)))


def add_missing_indexes(connection: Connection, *, file: str) -> None:
    """Create missing indexes, inside the caller's transaction; raises if a table is missing."""
    tables = names_of(connection, "table")
    for table in TABLES:
        if table.name not in tables:
            raise _missing(file, table.name)
    indexes = names_of(connection, "index")
    for index in INDEXES:
        if index.name not in indexes:
            connection.execute(CreateIndex(index))


def names_of(connection: Connection, kind: str) -> frozenset[str]:
    """The names of Perdure's tables (`kind` is `table`) or indexes (`index`)."""
    # In LIKE, an unescaped underscore matches any character.
    found = connection.execute(
        text(
            r"SELECT name FROM sqlite_master WHERE type = :kind AND name LIKE 'perdure\_%' ESCAPE '\'"
        ),
        {"kind": kind},
    )
    return frozenset(found.scalars())


def _missing(file: str, table: str) -> StorageCorrupt:
    return StorageCorrupt(
        f"the file {file!r} lacks the table {table!r}, so its data is lost; restore the file"
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


def _upgrade_from(version: int, upgrades: Mapping[int, Upgrade], file: str) -> Upgrade:
    upgrade = upgrades.get(version)
    if upgrade is None:
        raise StorageFailed(
            f"the file {file!r} has schema {version}, which this perdure-sqlite cannot upgrade;"
            " open it once with an older release",
            operation="open",
        )
    return upgrade
