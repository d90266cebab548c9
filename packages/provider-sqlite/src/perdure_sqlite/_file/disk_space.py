"""Disk space: how long the write-ahead log may grow, and when to truncate it.

Committed pages stay in the log until a checkpoint copies them into the file. On a nearly full disk
a long log blocks itself: the file needs space to take the pages, and the log occupies that space.
The log is therefore kept short while little space is left.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Final

_USUAL_PAGES: Final = 4000
_PAGES_WHEN_LOW: Final = 64
_LOW_SPACE: Final = 64 * 1024 * 1024
_INTERVAL: Final = 1.0
"""Seconds between two checks of the disk, and between two attempts to truncate the log."""


class DiskSpace:
    """The free space on the disk of a file, and the log length that it allows."""

    __slots__ = ("_directory", "_next_attempt", "_next_check", "_pages")

    def __init__(self, file: str) -> None:
        self._directory = Path(file).parent
        self._pages = _USUAL_PAGES
        self._next_check = 0.0
        self._next_attempt = 0.0

    @property
    def checkpoint_pages(self) -> int:
        """How many pages the log may hold before a commit starts a checkpoint."""
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + _INTERVAL
            self._pages = _PAGES_WHEN_LOW if self._is_low() else _USUAL_PAGES
        return self._pages

    def may_truncate_log(self) -> bool:
        """Whether to truncate the log of a full disk now; then False for a while."""
        now = time.monotonic()
        if now < self._next_attempt:
            return False
        self._next_attempt = now + _INTERVAL
        return True

    def _is_low(self) -> bool:
        try:
            return shutil.disk_usage(self._directory).free < _LOW_SPACE
        except OSError:
            return False
