"""The place of the file: whether its path still names the file that is open.

SQLite never looks at the path again. Where the file was deleted, renamed or replaced, it goes on
writing to what nobody will ever open, and every acknowledgement would be a lie. The file's device
and number tell, and so do those of its log, without which the file lacks its last commits.

A file that cannot be looked at, since a directory is closed to this process now, counts as being
in its place: nothing says otherwise.
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
"""Seconds between two looks at the log."""


class Displaced(Exception):
    """The path of the file does not name the file that is open any more."""


class Place:
    """Where a file was when it was opened."""

    __slots__ = ("_file", "_found", "_log", "_next_look_at_log", "_shared_memory", "displaced")

    def __init__(self, file: str) -> None:
        self._file = file
        # SQLite follows links, and puts its other files beside the file itself.
        beside = os.path.realpath(file)
        self._log, self._shared_memory = beside + _LOG, beside + _SHARED_MEMORY
        self._next_look_at_log = 0.0
        self._found: dict[str, _FileId] = {}
        """What was at each path."""
        self.displaced: Displaced | None = None
        """Set for good once a check has failed: what is put back is not what was open."""
        self._note(file)

    def note_log(self) -> None:
        """Remember the files beside it: once it is open, nobody else may delete them."""
        self._note(self._log)
        self._note(self._shared_memory)

    def check(self) -> None:
        """Raise `Displaced` unless the file and its log are, and always were, where they were.

        Called with every commit, so it looks at the log, which nobody touches alone, less often.
        """
        if self.displaced is None and _has_changed(self._file, self._found):
            self.displaced = Displaced("it was deleted, renamed or replaced")
        now = time.monotonic()
        if self.displaced is None and now >= self._next_look_at_log:
            self._next_look_at_log = now + _LOG_INTERVAL
            if _has_changed(self._log, self._found):
                self.displaced = Displaced("its write-ahead log was deleted, renamed or replaced")
        if self.displaced is not None:
            raise self.displaced

    @property
    def is_taken(self) -> bool:
        """Whether files that belong to another database lie where SQLite would delete its own."""
        for path in (self._log, self._shared_memory):
            try:
                if _id_of(path) != self._found.get(path):
                    return True
            except OSError:
                continue
        return False

    def _note(self, path: str) -> None:
        try:
            self._found[path] = _id_of(path)
        except OSError:
            return


def displaced(reason: Displaced, *, file: str, operation: str) -> StorageFailed:
    """The error of every call from then on."""
    failure = StorageFailed(
        f"the file {file!r} is not the one that was opened: {reason}; nothing is acknowledged any"
        " more, so stop whatever uses it, put the right file there, and open it again",
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
