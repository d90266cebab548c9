"""Plays rows in turn, each in a process of its own: first one subject, then the next, then again.

So a machine that becomes slower during the run becomes slower for all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import Measured
from benchmarks.rows import Row
from benchmarks.subjects import Subject

ROOT = Path(__file__).parents[1]
_LONGEST = 3600.0
"""Seconds after which a run is given up."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a row by a subject."""

    row: Row
    size: int
    subject: Subject
    measured: Measured | None
    """None: it failed."""
    error: str = ""


def play_all(
    rows: Sequence[Row], subjects: Sequence[Subject], *, rounds: int, short: bool
) -> Iterator[Run]:
    """All runs, row by row; within a row the subjects alternate. Tells on stderr how it goes on."""
    for row in rows:
        for size in row.sizes(short=short):
            for number in range(1, rounds + 1):
                for subject in subjects:
                    if row.id not in subject.rows:
                        continue
                    run = _play(row, size, subject)
                    _tell(run, number)
                    yield run


def _play(row: Row, size: int, subject: Subject) -> Run:
    with tempfile.TemporaryDirectory(prefix="perdure-bench-") as folder:
        words = [*subject.command, row.id, str(size), folder]
        try:
            done = subprocess.run(  # noqa: S603 # a command of this package
                words, cwd=ROOT, capture_output=True, text=True, timeout=_LONGEST, check=False
            )
        except subprocess.TimeoutExpired:
            return Run(row, size, subject, None, f"not done after {_LONGEST:.0f} s")
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return Run(row, size, subject, None, last[0])
    return Run(row, size, subject, Measured(**json.loads(done.stdout)))


def _tell(run: Run, number: int) -> None:
    gave = run.error or "" if run.measured is None else f"{run.measured.figure:,.2f} {run.row.unit}"
    print(f"{run.subject.id} · {run.row.named(run.size)} · {number}: {gave}", file=sys.stderr)
