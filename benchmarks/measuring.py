"""What one run of a row gives, and how its processor time and memory are counted."""

from __future__ import annotations

import gc
import os
import resource
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

SERVER = "PERDURE_BENCH_SERVER"
"""The variable with the id of the server's process, which the runner starts for some subjects."""
DATABASE = "PERDURE_BENCH_DATABASE"
"""The variable with the URL of an empty database on that server."""


@dataclass(kw_only=True)
class Measured:
    """One run of one row."""

    figure: float
    """The main figure, in the unit of its row."""
    samples_ms: list[float] = field(default_factory=list[float])
    """Single times in milliseconds, where the row has some."""
    operations: int = 0
    """How many operations the processor time is for; 0 where the row counts none."""
    cpu_seconds: float = 0.0
    """Processor time of this process and of those that it has awaited, for the operations alone."""
    peak_mib: float = 0.0
    """The most memory that the process had, its start included."""
    notes: dict[str, float] = field(default_factory=dict[str, float])
    """Further figures by name."""

    @property
    def cpu_us(self) -> float | None:
        """Processor time for each operation, in microseconds."""
        return self.cpu_seconds / self.operations * 1e6 if self.operations else None

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class Lap:
    """A measured stretch; its times are there once its block has ended."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def lap(servers: Sequence[int] = ()) -> Generator[Lap]:
    """Measure the block, after a collection of what came before it."""
    gc.collect()
    measured = Lap()
    cpu, began = processor_seconds(servers), time.perf_counter()
    try:
        yield measured
    finally:
        measured.seconds = time.perf_counter() - began
        measured.cpu_seconds = processor_seconds(servers) - cpu


def processor_seconds(servers: Sequence[int] = ()) -> float:
    """Of this process, of its children that have ended, and of the servers with these ids.

    The server that `SERVER` in the environment names counts too: rows need not know of it.
    """
    used = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    named = os.environ.get(SERVER)
    return used + sum(map(_of_server, [*servers, *([int(named)] if named else [])]))


def _of_server(pid: int) -> float:
    """Of a process, its children, and those that have ended; 0 where the system does not tell."""
    if not Path("/proc/self/stat").exists():
        return 0.0
    ticks = 0
    for each in _with_children(pid):
        # What follows the name in parentheses; an ended process has no file any more.
        with suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15] if each == pid else fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _with_children(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *map(int, children.read_text().split())] if children.exists() else [pid]


def peak_mib() -> float:
    """The most memory that this process or an ended child had."""
    unit = 1 if sys.platform == "darwin" else 1024
    sizes = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return max(sizes) * unit / 2**20


def peak_mib_of(pid: int) -> float:
    """The most memory that another process had; 0 where the system does not tell."""
    told = Path(f"/proc/{pid}/status")
    lines = told.read_text().splitlines() if told.exists() else []
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def percentile(samples: Sequence[float], share: int) -> float:
    """Of at least one sample."""
    if len(samples) < 2:
        return samples[0]
    return quantiles(samples, n=100, method="inclusive")[share - 1]
