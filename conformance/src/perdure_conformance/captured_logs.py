"""Captures log lines, so that they appear only with the check that failed.

Most checks disturb a runtime or a provider on purpose, and each disturbance is logged. On the
command line these lines are noise until a check fails.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

MOST = 100
"""The number of lines that are kept."""


class CapturedLogs(logging.Handler):
    """The last log lines since `take` was called."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        self._lines: deque[str] = deque(maxlen=MOST)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self._lines.append(self.format(record))

    def take(self) -> list[str]:
        """The lines since the last call."""
        lines = list(self._lines)
        self._lines.clear()
        return lines


@contextmanager
def capture_logs() -> Generator[CapturedLogs]:
    """Capture what is logged in the block, in place of the terminal."""
    kept = CapturedLogs()
    root = logging.getLogger()
    root.addHandler(kept)
    try:
        yield kept
    finally:
        root.removeHandler(kept)
