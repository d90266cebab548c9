"""What is compared: each subject with its settings, and the command that plays a row of it."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks import floor
from benchmarks.peers import environments
from benchmarks.rows import ROWS
from benchmarks.workloads import ON_A_FILE

_NO_LIMITS: Mapping[str, tuple[int, str]] = {}


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine with a store, at settings that its documents recommend for speed."""

    id: str
    title: str
    settings: str
    """What was set, for the report."""
    versions: Mapping[str, str]
    command: tuple[str, ...]
    """Plays a row, given its name, its size and an empty folder; prints the result as JSON."""
    cannot: Mapping[str, str] = field(default_factory=dict[str, str])
    """The rows that it does not play, each with the reason."""
    largest: Mapping[str, tuple[int, str]] = field(default_factory=lambda: _NO_LIMITS)
    """The largest size that it plays of a row, and why no larger one."""
    missing: str = ""
    """Why it cannot be played on this machine; empty if it can."""

    def reason(self, row: str, size: int) -> str:
        """Why it does not play this row of this size; empty if it does."""
        if row in self.cannot:
            return self.cannot[row]
        largest, reason = self.largest.get(row, (size, ""))
        return reason if size > largest else self.missing


def subjects() -> tuple[Subject, ...]:
    """All that are compared, those that cannot be played here too."""
    return (_sqlite(), _memory(), _floor(), _duroxide())


def _sqlite() -> Subject:
    settings = "write-ahead log, every commit is on disk before it counts (the default)"
    return _perdure("sqlite", "Perdure, SQLite", settings)


def _memory() -> Subject:
    reason = "the store ends with its process"
    return _perdure(
        "memory", "Perdure, memory", "nothing is durable", cannot=dict.fromkeys(ON_A_FILE, reason)
    )


def _perdure(
    scheme: str, title: str, settings: str, cannot: Mapping[str, str] | None = None
) -> Subject:
    packages = ("perdure", f"perdure-{scheme}", "pydantic")
    return Subject(
        f"perdure-{scheme}",
        title,
        settings,
        {package: version(package) for package in packages},
        (sys.executable, "-m", "benchmarks.one", scheme),
        cannot or {},
    )


def _floor() -> Subject:
    others = [row.id for row in ROWS if row.id not in floor.ROWS]
    return Subject(
        "floor",
        "bare statements",
        "write-ahead log, synchronous=FULL; up to 64 turns in one transaction; no engine",
        {"sqlite": sqlite3.sqlite_version},
        (sys.executable, "-m", "benchmarks.one", "floor"),
        dict.fromkeys(others, "a loop without an engine does nothing here"),
    )


_ONE_WORKER = {
    "processes": "the adapter has one worker process",
    "processes_1ms": "the adapter has one worker process",
    "in_flight": "how many payloads it holds at once is a number of threads, which is a setting",
}
_TAKES_TOO_LONG = "storing that many takes longer than a run may"


def _duroxide() -> Subject:
    replays = "each step replays all before it, so this takes longer than a run may"
    return _peer(
        "duroxide",
        "duroxide, SQLite",
        "2 orchestration and 2 activity workers (the default; with more, flows fail as the file is locked), 1 and 1 where flows are alone and for fan-outs, polls every 5 ms (20 times as often as by default)",
        largest={
            "long_chain": (2000, replays),
            "replay": (2000, replays),
            "stored": (1000, _TAKES_TOO_LONG),
            "sleeping": (10_000, _TAKES_TOO_LONG),
            "waiting": (10_000, _TAKES_TOO_LONG),
        },
    )


def _peer(
    environment: str, title: str, settings: str, *, largest: Mapping[str, tuple[int, str]]
) -> Subject:
    return Subject(
        environment,
        title,
        settings,
        environments.versions(environment),
        (str(environments.python_of(environment)), "-m", f"benchmarks.peers.{environment}_"),
        _ONE_WORKER,
        largest,
        environments.missing(environment),
    )


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "machine": f"{_processors()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processors() -> str:
    kind = platform.machine()
    told = Path("/proc/cpuinfo")
    if told.exists():
        lines = told.read_text("utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        kind = names[0] if names else kind
    return f"{os.cpu_count()} processors, {kind}"
