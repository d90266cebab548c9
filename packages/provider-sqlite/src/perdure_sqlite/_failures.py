"""The driver's errors in the words of the contract.

What to do about an error follows from SQLite's result code alone. The driver's exception is kept
as the cause, and never reaches a caller itself.
"""

from __future__ import annotations

import sqlite3

from perdure.errors import ProviderError, StorageCorrupt, StorageFailed, StorageUnavailable

from perdure_sqlite._place import Displaced, displaced

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full or the file may not grow; make room",
    sqlite3.SQLITE_READONLY: "the file or its directory is read-only; allow this process to write",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that its directory exists and may be written",
    sqlite3.SQLITE_PERM: "access is denied; allow this process to read and write it",
    sqlite3.SQLITE_IOERR: "reading or writing failed; check the disk",
    sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite takes; store large data elsewhere",
    sqlite3.SQLITE_NOMEM: "memory is exhausted; free some and try again",
}


class Damaged(Exception):
    """What is stored of an instance is not what this package stores.

    No `PerdureError`, which would be an answer: a write that meets it is rolled back, and who
    asked gets a `StorageCorrupt`.
    """

    def __init__(self, instance: str, what: str) -> None:
        super().__init__(f"instance {instance!r} is damaged: {what}")


def code_of(error: BaseException) -> int:
    """SQLite's primary result code, or 0 where the error has none."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else 0


def is_busy(error: BaseException) -> bool:
    """Whether another connection was in the way, and the same step may succeed later."""
    return isinstance(error, sqlite3.Error) and code_of(error) in _BUSY


def is_full(error: BaseException) -> bool:
    """Whether the disk had no room."""
    return isinstance(error, sqlite3.Error) and code_of(error) == sqlite3.SQLITE_FULL


def failure_of(error: BaseException, *, file: str, operation: str) -> ProviderError:
    """The error to raise instead, with the driver's as its cause."""
    if isinstance(error, Displaced):
        return displaced(error, file=file, operation=operation)
    code = code_of(error)
    failure: ProviderError
    if isinstance(error, Damaged):
        failure = StorageCorrupt(
            f"{error} in the file {file!r}; restore it from a backup", operation=operation
        )
    elif code in _BUSY:
        failure = StorageUnavailable(
            f"the file {file!r} is locked by another process; try again, or raise busy_timeout",
            operation=operation,
        )
    elif code in _CORRUPT:
        failure = StorageCorrupt(
            f"the file {file!r} cannot be read as an SQLite database ({error}); restore it from a"
            " backup, or choose another file",
            operation=operation,
        )
    else:
        advice = _ADVICE.get(code, "see the cause")
        failure = StorageFailed(
            f"the file {file!r} could not be used ({error}): {advice}",
            operation=operation,
            retryable=code == sqlite3.SQLITE_NOMEM,
        )
    failure.__cause__ = error
    return failure
