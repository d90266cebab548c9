"""What is compared: each subject with its settings, and the command that plays a row of it."""

from __future__ import annotations

import platform
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks import floor
from benchmarks.workloads import ON_A_FILE, WORKLOADS


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine with a store, at settings that its documents recommend."""

    id: str
    title: str
    settings: str
    """What was set, for the report."""
    versions: Mapping[str, str]
    rows: frozenset[str]
    """What it can play; the report says of the others that it cannot."""
    command: tuple[str, ...]
    """Plays a row, given its name, its size and an empty folder; prints the result as JSON."""


def _perdure(scheme: str, title: str, settings: str, rows: frozenset[str]) -> Subject:
    packages = ("perdure", f"perdure-{scheme}", "pydantic")
    return Subject(
        f"perdure-{scheme}",
        title,
        settings,
        {package: version(package) for package in packages},
        rows,
        (sys.executable, "-m", "benchmarks.one", scheme),
    )


def subjects() -> tuple[Subject, ...]:
    """All that can be played here."""
    rows = frozenset(WORKLOADS)
    durable = "write-ahead log, every commit is on disk before it counts (the default)"
    return (
        _perdure("sqlite", "Perdure, SQLite", durable, rows),
        _perdure("memory", "Perdure, memory", "nothing is durable", rows - ON_A_FILE),
        Subject(
            "floor",
            "bare statements",
            "write-ahead log, synchronous=FULL; up to 64 turns in one transaction; no engine",
            {"sqlite": sqlite3.sqlite_version},
            floor.ROWS,
            (sys.executable, "-m", "benchmarks.one", "floor"),
        ),
    )


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    return {
        "machine": f"{platform.machine()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
