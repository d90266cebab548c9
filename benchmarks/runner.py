"""Plays rows in turn, each in a process of its own: first one subject, then the next, then again.

The subjects alternate within a row, and the rounds follow one another, so a machine that becomes
slower during the run becomes slower for all of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from benchmarks.databases import Databases, databases
from benchmarks.measuring import Measured
from benchmarks.rows import Extent, Row
from benchmarks.subjects import Subject

ROOT = Path(__file__).parents[1]
SLOW = 15.0
"""Seconds: what took a subject longer is played once by it."""
_NO_TIME = "no time was left in this run"
_LONGEST = {"large": 3600.0, "once": 240.0, "whole": 120.0, "short": 60.0}
"""Seconds after which a run is given up."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a row by a subject."""

    row: Row
    size: int
    subject: Subject
    measured: Measured | None
    """None: it failed, or was not played."""
    error: str = ""
    """Why it failed."""
    reason: str = ""
    """Why the subject does not play it."""


def play_all(
    rows: Sequence[Row], subjects: Sequence[Subject], extent: Extent, *, minutes: float
) -> Iterator[Run]:
    """All runs of the first rounds, and of further ones those that end within the minutes.

    What was not played when they are over is not played. Tells on stderr how it goes on.
    """
    end = time.monotonic() + minutes * 60
    took: dict[tuple[str, int, str], float] = {}
    with databases() as server:
        for number, row, size, subject in _in_turn(rows, subjects, extent):
            key, began = (row.id, size, subject.id), time.monotonic()
            if key in took:
                if took[key] > SLOW or began + took[key] > end:
                    continue
            elif reason := subject.reason(row.id, size) or (_NO_TIME if began > end else ""):
                took[key] = float("inf")
                yield Run(row, size, subject, None, reason=reason)
                continue
            run = _run(row, size, subject, server, longest=_longest(row, size, extent))
            took[key] = time.monotonic() - began
            _tell(run, number, took[key])
            yield run


def _in_turn(
    rows: Sequence[Row], subjects: Sequence[Subject], extent: Extent
) -> Iterator[tuple[int, Row, int, Subject]]:
    for number in range(1, extent.rounds + 1):
        for row, size in extent.sizes(rows, number):
            yield from ((number, row, size, subject) for subject in subjects)


def _longest(row: Row, size: int, extent: Extent) -> float:
    if size in row.large:
        return _LONGEST["large"]
    if extent.short:
        return _LONGEST["short"]
    return _LONGEST["once" if size in row.once else "whole"]


def _run(row: Row, size: int, subject: Subject, server: Databases, *, longest: float) -> Run:
    if subject.delay_ms is None:
        return _play(row, size, subject, {}, longest)
    with server.one(subject.delay_ms) as variables:
        return _play(row, size, subject, variables, longest)


def _play(
    row: Row, size: int, subject: Subject, variables: Mapping[str, str], longest: float
) -> Run:
    """One run in a process of its own; a failure is a run too."""
    with tempfile.TemporaryDirectory(prefix="perdure-bench-", ignore_cleanup_errors=True) as folder:
        words = [*subject.command, row.id, str(size), folder]
        # In a session of its own, so that what it started ends with it.
        process = subprocess.Popen(  # noqa: S603 # a command of this package
            words,
            cwd=ROOT,
            env={**os.environ, **variables},
            stdout=PIPE,
            stderr=PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            told, said = process.communicate(timeout=longest)
        except subprocess.TimeoutExpired:
            _end(process)
            return Run(row, size, subject, None, f"not done after {longest:.0f} s")
        except BaseException:
            _end(process)
            raise
        if process.returncode:
            _end(process)
            last = said.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
            return Run(row, size, subject, None, last[0].replace(folder, "FOLDER")[:200])
    return Run(row, size, subject, Measured(**json.loads(told)))


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _tell(run: Run, number: int, seconds: float) -> None:
    gave = run.error if run.measured is None else f"{run.measured.figure:,.2f} {run.row.unit}"
    words = f"{number} · {run.row.named(run.size)} · {run.subject.id}: {gave} ({seconds:.1f} s)"
    print(words, file=sys.stderr, flush=True)
