"""Runs the worker in a process of its own, and begins a new one whenever a file changes.

For development: a process that ends by itself is begun again with the next change.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

_INTERVAL: Final = 0.5
"""Seconds between two looks."""
_LEFT_OUT: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


def run_with_reload(arguments: Sequence[str], say: Callable[[str], None]) -> int:
    """Run `perdure` with these arguments, again and again, until a signal ends it."""
    stopped = threading.Event()
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    while not stopped.is_set():
        before = _files()
        process = subprocess.Popen([sys.executable, "-m", "perdure_console", *arguments])  # noqa: S603 # this command itself
        while not stopped.wait(_INTERVAL):
            if _files() != before:
                say("a file has changed; the worker begins again")
                break
        _end(process, received, stopped)
    return 0


def _end(process: subprocess.Popen[bytes], received: list[int], stopped: threading.Event) -> None:
    """Ask the worker to stop; a second signal to this process forces it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    asked = len(received)
    while process.poll() is None:
        if len(received) > max(asked, 1):
            process.kill()
        try:
            process.wait(_INTERVAL)
        except subprocess.TimeoutExpired:
            continue


def _files() -> dict[str, float]:
    """The Python files below the current directory, with the time of their last change."""
    found: dict[str, float] = {}
    for folder, folders, files in os.walk(Path.cwd()):
        folders[:] = [each for each in folders if each not in _LEFT_OUT and each[0] != "."]
        for name in files:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                try:
                    found[path] = os.stat(path).st_mtime
                except OSError:
                    continue  # it was removed meanwhile
    return found
