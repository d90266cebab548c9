"""Keeps log lines from the terminal, and shows them with the check that failed.

Most checks disturb a runtime or a provider on purpose, and each disturbance is logged: to who
runs the suite from the command line these lines are noise, until a check fails.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager

MOST = 100
"""How many of the last lines are kept."""


class CapturedLogs(logging.Handler):
    """The last log lines, until somebody asks for them."""

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
    """Keep what is logged in the block; nothing of it reaches the terminal."""
    kept = CapturedLogs()
    root = logging.getLogger()
    root.addHandler(kept)
    try:
        yield kept
    finally:
        root.removeHandler(kept)
