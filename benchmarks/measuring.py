"""What one run of a row gives, and how its processor time and memory are counted."""

from __future__ import annotations

import gc
import resource
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from typing import Any


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
def lap() -> Generator[Lap]:
    """Measure the block, after a collection of what came before it."""
    gc.collect()
    measured = Lap()
    cpu, began = processor_seconds(), time.perf_counter()
    try:
        yield measured
    finally:
        measured.seconds = time.perf_counter() - began
        measured.cpu_seconds = processor_seconds() - cpu


def processor_seconds() -> float:
    """Of this process, and of its children that have ended."""
    used = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        used += usage.ru_utime + usage.ru_stime
    return used


def peak_mib() -> float:
    """The most memory that this process or an ended child had."""
    unit = 1 if sys.platform == "darwin" else 1024
    sizes = (
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return max(sizes) * unit / 2**20


def percentile(samples: Sequence[float], share: int) -> float:
    """Of at least one sample."""
    if len(samples) < 2:
        return samples[0]
    return quantiles(samples, n=100, method="inclusive")[share - 1]
