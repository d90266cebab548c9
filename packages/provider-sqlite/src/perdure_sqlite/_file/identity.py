"""The identity of the file: whether its path still names the file that is open.

SQLite does not look at the path again after opening. If the file is deleted, renamed or replaced,
SQLite keeps writing to a file that no later process can open, and acknowledged commits are lost.
`FileIdentity` notices this by the device and inode of the file. It also checks the write-ahead
log, because a file without its log lacks its last commits.

A file that cannot be examined, for example because its directory has become inaccessible, counts
as unchanged.
"""

from __future__ import annotations

import os
import time
from typing import Final, TypeAlias

from perdure.errors import StorageFailed

_FileId: TypeAlias = tuple[int, int]
_LOG: Final = "-wal"
_SHARED_MEMORY: Final = "-shm"
_LOG_INTERVAL: Final = 0.05
"""Seconds between two checks of the log."""


class FileReplaced(Exception):
    """The path of the file no longer names the file that is open."""


class FileIdentity:
    """The device and inode of a file, its log and its shared memory when it was opened."""

    __slots__ = ("_file", "_found", "_log", "_next_check_of_log", "_shared_memory", "replaced")

    def __init__(self, file: str) -> None:
        self._file = file
        # SQLite follows links, and puts its other files beside the file itself.
        beside = os.path.realpath(file)
        self._log, self._shared_memory = beside + _LOG, beside + _SHARED_MEMORY
        self._next_check_of_log = 0.0
        self._found: dict[str, _FileId] = {}
        """By path."""
        self.replaced: FileReplaced | None = None
        """Set once a check has failed, and never cleared: a file that is put back is a different one."""
        self._remember(file)

    def remember_log(self) -> None:
        """Remember the log and the shared memory; call this once the file is open."""
        self._remember(self._log)
        self._remember(self._shared_memory)

    def check(self) -> None:
        """Raise `FileReplaced` if the file or its log was ever found missing or replaced.

        The log is checked less often: this is called at every commit, and the log alone is rarely
        touched.
        """
        if self.replaced is None and _has_changed(self._file, self._found):
            self.replaced = FileReplaced("it was deleted, renamed or replaced")
        now = time.monotonic()
        if self.replaced is None and now >= self._next_check_of_log:
            self._next_check_of_log = now + _LOG_INTERVAL
            if _has_changed(self._log, self._found):
                self.replaced = FileReplaced("its write-ahead log was deleted, renamed or replaced")
        if self.replaced is not None:
            raise self.replaced

    @property
    def is_log_replaced(self) -> bool:
        """Whether the log or shared memory at the path belongs to another database.

        Closing the last connection would then delete the files of that database.
        """
        for path in (self._log, self._shared_memory):
            try:
                if _id_of(path) != self._found.get(path):
                    return True
            except OSError:
                continue
        return False

    def _remember(self, path: str) -> None:
        try:
            self._found[path] = _id_of(path)
        except OSError:
            return


def replaced_error(reason: FileReplaced, *, file: str, operation: str) -> StorageFailed:
    """The error of every call on a file that was replaced."""
    failure = StorageFailed(
        f"the file {file!r} is not the one that was opened: {reason}; nothing is acknowledged any"
        " more, so stop every process that uses it, put the right file back, and open it again",
        operation=operation,
        retryable=False,
    )
    failure.__cause__ = reason
    return failure


def _id_of(path: str) -> _FileId:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _has_changed(path: str, known: dict[str, _FileId]) -> bool:
    try:
        return _id_of(path) != known.get(path)
    except (FileNotFoundError, NotADirectoryError):
        return path in known
    except OSError:
        return False
