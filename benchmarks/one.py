"""Plays one row once and prints what it gave: `python -m benchmarks.one SUBJECT ROW SIZE FOLDER`."""

from __future__ import annotations

import asyncio
import json
import os
import sys

from benchmarks import floor
from benchmarks.measuring import DATABASE, Measured, peak_mib
from benchmarks.workloads import WORKLOADS


def play(subject: str, row: str, size: int, folder: str) -> Measured:
    """Play the row in an empty folder."""
    if subject == "floor":
        return floor.play(row, size, f"{folder}/floor.db")
    return asyncio.run(WORKLOADS[row](_url(subject, folder), size))


def _url(subject: str, folder: str) -> str:
    if subject == "postgres":
        url = os.environ[DATABASE]
        return f"{url}{'&' if '?' in url else '?'}create=true"
    return "memory://" if subject == "memory" else f"sqlite:///{folder}/perdure.db"


def main() -> None:
    """Read the arguments, play, print."""
    subject, row, size, folder = sys.argv[1:]
    measured = play(subject, row, int(size), folder)
    measured.peak_mib = peak_mib()
    json.dump(measured.plain(), sys.stdout)


if __name__ == "__main__":
    main()
