"""Tells once when a file is written, so that commits of other processes are noticed within a millisecond.

Linux tells of writes by inotify, which Python has no module for: three functions of the C library
are called directly. Elsewhere, or where the system gives no watch, nothing is told, and the caller
polls alone. A watch is a hint: the write that it tells of may not be committed yet.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_MODIFY: Final = 0x2
_ONCE: Final = 0x80000000
_LONGEST_NOTICES: Final = 4096


class FileWatch:
    """Calls `on_write` once, when the file is written after `arm`. Belongs to the running loop."""

    def __init__(self, file: str, on_write: Callable[[], None]) -> None:
        self._file = os.fsencode(file)
        self._on_write = on_write
        self._loop = asyncio.get_running_loop()
        self._is_armed = False
        self._libc: ctypes.CDLL | None = None
        self._notices = -1
        if sys.platform == "linux":
            # A loop that watches no descriptors, or a C library without inotify: poll alone.
            with suppress(OSError, AttributeError, NotImplementedError):
                self._open()

    @property
    def is_supported(self) -> bool:
        """Whether the system tells of writes."""
        return self._notices >= 0

    def arm(self) -> None:
        """Tell of the next write, unless that is so already."""
        if self._is_armed or self._libc is None or self._notices < 0:
            return
        watch = self._libc.inotify_add_watch(self._notices, self._file, _MODIFY | _ONCE)
        self._is_armed = watch >= 0

    def close(self) -> None:
        """Tell of nothing from now on."""
        if self._notices >= 0:
            self._loop.remove_reader(self._notices)
            os.close(self._notices)
            self._notices = -1

    def _open(self) -> None:
        libc = ctypes.CDLL(None)
        notices: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if notices < 0:
            return
        try:
            self._loop.add_reader(notices, self._told)
        except BaseException:
            os.close(notices)
            raise
        self._libc, self._notices = libc, notices

    def _told(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._notices, _LONGEST_NOTICES)
        if self._is_armed:
            self._is_armed = False
            self._on_write()
