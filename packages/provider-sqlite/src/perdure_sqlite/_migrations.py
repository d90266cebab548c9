"""Versions of the schema, and the way from one to the next.

A file carries its version in `perdure_meta`. A new file is made in the present version; an older
one is brought forward step by step when it is opened, all or nothing, under the write lock; a
newer one is refused and left as it is. A step works on the tables as they were in its version,
never on `_tables`, which moves on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from perdure.errors import StorageCorrupt, StorageFailed
from sqlalchemy import Connection, insert, inspect, select, update

from perdure_sqlite._tables import meta, metadata

Step: TypeAlias = Callable[[Connection], None]

STEPS: Mapping[int, Step] = {}
"""By the version from which it leads to the next."""
VERSION = 1
"""The version that this package reads and writes."""

_KEY = "schema_version"


def bring_up_to_date(
    connection: Connection, *, file: str, version: int = VERSION, steps: Mapping[int, Step] = STEPS
) -> None:
    """Make or migrate the tables, inside the caller's transaction."""
    if not inspect(connection).has_table(meta.name):
        metadata.create_all(connection)
        connection.execute(insert(meta).values(key=_KEY, value=str(version)))
        return
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


def _read_version(connection: Connection, file: str) -> int:
    text = connection.execute(select(meta.c.value).where(meta.c.key == _KEY)).scalar()
    if text is None or not (text.isascii() and text.isdecimal()):
        raise StorageCorrupt(
            f"the file {file!r} has the schema version {text!r}, which is not a number;"
            " restore it from a backup",
            operation="open",
        )
    return int(text)


def _step_from(version: int, steps: Mapping[int, Step], file: str) -> Step:
    step = steps.get(version)
    if step is None:
        raise StorageFailed(
            f"the file {file!r} has schema {version}, which this perdure-sqlite cannot migrate;"
            " open it once with an older release",
            operation="open",
        )
    return step
