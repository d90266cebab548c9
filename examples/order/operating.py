"""What an operator of the order process does by a program; the operator's guide explains it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def back_up(file: Path, copy: Path) -> None:
    """Copy an SQLite file while workers use it."""
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def restore(copy: Path, file: Path) -> None:
    """Put a copy in the place of the file; no process may have the file open."""
    for name in ("-wal", "-shm"):
        file.with_name(file.name + name).unlink(missing_ok=True)
    copy.replace(file)
