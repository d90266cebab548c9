"""Creating a new file: it appears under its name complete, or not at all.

The file is written under a temporary name in the same directory, and then linked to its own name.
A process that is killed meanwhile leaves no partial file under that name, so an empty file can be
reported as a damaged one.
"""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from perdure.errors import StorageCorrupt, StorageFailed
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from perdure_sqlite._schema.counts import add_missing_counts
from perdure_sqlite._schema.ids_in_use import add_missing_ids_in_use
from perdure_sqlite._schema.migrations import add_missing_indexes, migrate

_LONGEST_CREATION: Final = 1.0
"""Seconds to wait for an empty file, which another process may be creating at this moment."""
_INTERVAL: Final = 0.01
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
_PREFIX: Final = ".perdure-"
_SUFFIX: Final = ".new"
_LEFTOVER: Final = re.compile(
    rf"{re.escape(_PREFIX)}\d+-\d+{re.escape(_SUFFIX)}(?:-wal|-shm|-journal)?"
)
_AGE_OF_LEFTOVERS: Final = 600.0
"""Seconds. A creation takes a fraction of one; one that was suspended for longer fails."""
_CANNOT_LINK: Final = frozenset(
    {errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}
)


def ensure_file(path: Path, *, durable: bool, patience: float) -> None:
    """Create the file if there is none; raises `StorageCorrupt` if it exists and is empty."""
    # A symbolic link may point to a file that does not exist yet.
    path = Path(os.path.realpath(path))
    _remove_leftovers(path.parent)
    if not path.exists():
        try:
            _create(path, durable=durable)
        except FileExistsError:
            pass
        except OSError as error:
            raise StorageFailed(
                f"the file {str(path)!r} could not be created ({error.strerror}); allow this"
                " process to write to its directory, or free disk space there",
                operation="open",
            ) from error
    give_up_at = time.monotonic() + min(patience, _LONGEST_CREATION)
    while path.exists() and path.stat().st_size == 0:
        if time.monotonic() >= give_up_at:
            raise StorageCorrupt(
                f"the file {str(path)!r} is empty, so what it held is lost; restore it from a"
                " backup, or delete it to start with a new one",
                operation="open",
            )
        time.sleep(_INTERVAL)


def _create(path: Path, *, durable: bool) -> None:
    temporary = path.with_name(f"{_PREFIX}{os.getpid()}-{threading.get_native_id()}{_SUFFIX}")
    try:
        _write(temporary)
        if durable:
            _sync(temporary)
        try:
            os.link(temporary, path)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            # The file system has no hard links. The process that creates the empty file replaces
            # it, and the others wait for that.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            temporary.replace(path)
        if durable:
            _sync(path.parent)
    finally:
        _remove(temporary)


def _remove_leftovers(directory: Path) -> None:
    """Remove what a process that was killed during a creation left in the directory."""
    latest = time.time() - _AGE_OF_LEFTOVERS
    # What cannot be read or removed does no harm; the creation says what is wrong.
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if _LEFTOVER.fullmatch(entry.name):
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < latest:
                        Path(entry).unlink()


def _write(temporary: Path) -> None:
    # A killed process with the same id may have left one behind.
    _remove(temporary)
    with closing(sqlite3.connect(temporary, isolation_level=None)) as driver:
        driver.execute("PRAGMA synchronous=OFF")
        engine = create_engine("sqlite://", creator=lambda: driver, poolclass=StaticPool)
        with engine.connect() as connection:
            driver.execute("BEGIN")
            migrate(connection, file=str(temporary))
            add_missing_indexes(connection, file=str(temporary))
            add_missing_counts(connection)
            add_missing_ids_in_use(connection)
            driver.execute("COMMIT")
        driver.execute("PRAGMA journal_mode=WAL").fetchall()


def _remove(temporary: Path) -> None:
    for suffix in _BESIDE:
        temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        # Windows cannot open a directory, and does not need the sync.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
