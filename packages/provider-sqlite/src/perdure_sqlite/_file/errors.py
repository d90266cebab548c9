"""The driver's errors, translated into errors of the contract.

SQLite's primary result code alone decides which error is raised and what it advises. The driver's
exception becomes the cause of that error.
"""

from __future__ import annotations

import sqlite3

from perdure.errors import ProviderError, StorageCorrupt, StorageFailed, StorageUnavailable

from perdure_sqlite._file.identity import FileReplaced, replaced_error

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


class DamagedRecord(Exception):
    """A stored record is not one that this package writes.

    Not a `PerdureError`, since those are answers to the caller: a write that raises this is rolled
    back, and its caller gets a `StorageCorrupt`.
    """

    def __init__(self, instance: str, what: str) -> None:
        super().__init__(f"instance {instance!r} is damaged: {what}")


def code_of(error: BaseException) -> int:
    """SQLite's primary result code, or 0 where the error has none."""
    if isinstance(error, MemoryError):
        # What the driver makes of SQLITE_NOMEM.
        return sqlite3.SQLITE_NOMEM
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else 0


def is_busy(error: BaseException) -> bool:
    """Whether another connection held a lock, so that the same call may succeed later."""
    return isinstance(error, sqlite3.Error) and code_of(error) in _BUSY


def is_full(error: BaseException) -> bool:
    """Whether the disk was full."""
    return isinstance(error, sqlite3.Error) and code_of(error) == sqlite3.SQLITE_FULL


def provider_error(error: BaseException, *, file: str, operation: str) -> ProviderError:
    """The error of the contract for this one, which becomes its cause."""
    if isinstance(error, FileReplaced):
        return replaced_error(error, file=file, operation=operation)
    code = code_of(error)
    failure: ProviderError
    if isinstance(error, DamagedRecord):
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
