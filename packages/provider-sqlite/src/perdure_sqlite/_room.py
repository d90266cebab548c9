"""Room on the disk: how far the log may run ahead of the file, and when to cut it off.

What was committed stands in the log until a checkpoint moves it into the file. On a disk that
fills up, a long log is a trap: the file needs room to take what the log holds, and the log has it.
So the log is kept short while little room is left; then little suffices to go on.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Final

_USUAL_PAGES: Final = 4000
_FEW_PAGES: Final = 64
_LITTLE_ROOM: Final = 64 * 1024 * 1024
_INTERVAL: Final = 1.0
"""Seconds between two looks at the disk, and between two attempts to make room."""


class Room:
    """What the writer of a file asks about its disk."""

    __slots__ = ("_directory", "_next_attempt", "_next_look", "_pages")

    def __init__(self, file: str) -> None:
        self._directory = Path(file).parent
        self._pages = _USUAL_PAGES
        self._next_look = 0.0
        self._next_attempt = 0.0

    @property
    def pages(self) -> int:
        """After how many pages in the log a commit moves them into the file."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _INTERVAL
            self._pages = _FEW_PAGES if self._is_little() else _USUAL_PAGES
        return self._pages

    def may_be_made(self) -> bool:
        """Whether to cut the log off on a full disk now; not at once again after that."""
        now = time.monotonic()
        if now < self._next_attempt:
            return False
        self._next_attempt = now + _INTERVAL
        return True

    def _is_little(self) -> bool:
        try:
            return shutil.disk_usage(self._directory).free < _LITTLE_ROOM
        except OSError:
            return False
