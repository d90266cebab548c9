"""Making a new file: it appears under its name when it is complete, or not at all.

It is made beside its place and linked there. So a process that dies meanwhile leaves no file that
looks like one which was cut off, and an empty file can be told from a new one.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from perdure.errors import StorageCorrupt, StorageFailed
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from perdure_sqlite._migrations import bring_up_to_date, complete

_LONGEST_MAKING: Final = 1.0
"""Seconds that an empty file is waited for, which somebody may be writing at this moment."""
_INTERVAL: Final = 0.01
_BESIDE: Final = ("", "-wal", "-shm", "-journal")
_CANNOT_LINK: Final = frozenset(
    {errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK}
)


def ensure_file(path: Path, *, durable: bool, patience: float) -> None:
    """Make the file where there is none; raises `StorageCorrupt` where there is an empty one."""
    # A link may lead to where there is no file yet.
    path = Path(os.path.realpath(path))
    if not path.exists():
        try:
            _make(path, durable=durable)
        except FileExistsError:
            pass
        except OSError as error:
            raise StorageFailed(
                f"the file {str(path)!r} could not be made ({error.strerror}); allow this process"
                " to write to its directory, or make room there",
                operation="open",
            ) from error
    give_up_at = time.monotonic() + min(patience, _LONGEST_MAKING)
    while path.exists() and path.stat().st_size == 0:
        if time.monotonic() >= give_up_at:
            raise StorageCorrupt(
                f"the file {str(path)!r} is empty, as a database is that was cut off; restore it"
                " from a backup, or delete it to begin with a new one",
                operation="open",
            )
        time.sleep(_INTERVAL)


def _make(path: Path, *, durable: bool) -> None:
    aside = path.with_name(f".perdure-{os.getpid()}-{threading.get_native_id()}.new")
    try:
        _write(aside)
        if durable:
            _sync(aside)
        try:
            os.link(aside, path)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            # The file system knows no links. Who makes the empty file replaces it, and all others
            # wait for that.
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
            aside.replace(path)
        if durable:
            _sync(path.parent)
    finally:
        _remove(aside)


def _write(aside: Path) -> None:
    # A process of the same number that died may have left one behind.
    _remove(aside)
    with closing(sqlite3.connect(aside, isolation_level=None)) as driver:
        driver.execute("PRAGMA synchronous=OFF")
        engine = create_engine("sqlite://", creator=lambda: driver, poolclass=StaticPool)
        with engine.connect() as connection:
            driver.execute("BEGIN")
            bring_up_to_date(connection, file=str(aside))
            complete(connection, file=str(aside))
            driver.execute("COMMIT")
        driver.execute("PRAGMA journal_mode=WAL").fetchall()


def _remove(aside: Path) -> None:
    for suffix in _BESIDE:
        aside.with_name(aside.name + suffix).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        # A directory cannot be opened on Windows, nor need it be.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
