"""Measures a provider: throughput and latency of the main workloads, at the contract's level.

Use the figures to compare storages on one machine. They do not predict a runtime's speed: it keeps
instances in memory and lets many calls share a transaction.

A workload ends when its operations are made or its time is over, whatever comes first. Operations that
do not end even a while later are cancelled, and the figures say so.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import quantiles
from uuid import uuid4

from perdure.clock import SystemClock
from perdure.contract import Provider

from perdure_conformance.backend import Backend, clean_up
from perdure_conformance.stress_workloads import WORKLOADS, Step

SECONDS = 8.0
"""For each workload, unless its operations are made before: all of them take less than a minute."""
GRACE = 1.5
"""Seconds after the end for operations under way."""
BETWEEN_SIGNS = 1.0
"""Seconds between two lines of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of one workload. Latencies are of a whole operation, in milliseconds."""

    workload: str
    what: str
    operations: int
    """How many were made."""
    unfinished: int
    """How many did not end, and were cancelled."""
    callers: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(slots=True, kw_only=True)
class Load:
    """How much is asked of each workload."""

    operations: int = 500
    callers: int = 16
    seconds: float = SECONDS


async def measure(
    backend: Backend, load: Load, workloads: Sequence[Step] = WORKLOADS
) -> Sequence[Measurement]:
    """Run workloads, each in its own namespace; tells of its progress on stderr."""
    found: list[Measurement] = []
    for step in workloads:
        namespace = f"stress-{uuid4().hex[:12]}"
        try:
            async with backend.open(clock=SystemClock(), namespace=namespace) as provider:
                found.append(await Running(provider, step, load).measure())
        finally:
            await clean_up(backend, [namespace])
    return found


@dataclass(slots=True)
class Running:
    """One workload while it runs."""

    provider: Provider
    step: Step
    load: Load
    latencies: list[float] = field(default_factory=list[float])
    begun: int = 0

    async def measure(self) -> Measurement:
        """Run it; raises the first error of an operation."""
        began = time.perf_counter()
        callers = [asyncio.ensure_future(self.caller(began)) for _ in range(self.load.callers)]
        telling = asyncio.ensure_future(self.tell())
        try:
            await asyncio.wait(
                callers,
                timeout=self.load.seconds + GRACE,
                return_when=asyncio.FIRST_EXCEPTION,
            )
        finally:
            seconds = time.perf_counter() - began
            for task in (*callers, telling):
                task.cancel()
            ends = await asyncio.gather(*callers, return_exceptions=True)
        for error in ends:
            if isinstance(error, Exception):
                raise error
        self.show()
        return self.measured(seconds)

    async def caller(self, began: float) -> None:
        """Make one operation after the other, until there were enough or the time is over."""
        while self.begun < self.load.operations:
            if time.perf_counter() - began > self.load.seconds:
                return
            number, self.begun = self.begun, self.begun + 1
            start = time.perf_counter()
            await self.step(self.provider, number)
            self.latencies.append(1000 * (time.perf_counter() - start))

    async def tell(self) -> None:
        """Show the progress now and then."""
        while True:
            self.show()
            await asyncio.sleep(BETWEEN_SIGNS)

    def show(self) -> None:
        """Show how far it is."""
        print(f"{name_of(self.step):<10}{len(self.latencies):>6} operations", file=sys.stderr)

    def measured(self, seconds: float) -> Measurement:
        """The figures."""
        made = self.latencies or [0.0]
        cuts = quantiles(made, n=100) if len(made) > 1 else made * 99
        return Measurement(
            workload=name_of(self.step),
            what=(self.step.__doc__ or "").strip(),
            operations=len(self.latencies),
            unfinished=self.begun - len(self.latencies),
            callers=self.load.callers,
            per_second=round(len(self.latencies) / seconds, 1),
            p50_ms=round(cuts[49], 3),
            p95_ms=round(cuts[94], 3),
            p99_ms=round(cuts[98], 3),
        )


def name_of(step: Step) -> str:
    """The name of a workload."""
    return getattr(step, "__name__", "workload")


def as_table(measurements: Iterable[Measurement]) -> str:
    """The figures for a terminal."""
    lines = [f"{'workload':<10}{'per second':>12}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}  what"]
    lines += [
        f"{each.workload:<10}{each.per_second:>12,.0f}{each.p50_ms:>10.2f}{each.p95_ms:>10.2f}"
        f"{each.p99_ms:>10.2f}  {each.what}{unfinished(each)}"
        for each in measurements
    ]
    return "\n".join(lines)


def unfinished(measurement: Measurement) -> str:
    """A remark about operations that did not end."""
    if not measurement.unfinished:
        return ""
    return f" ({measurement.unfinished} operations did not end, and were cancelled)"


def as_json(backend: Backend, measurements: Iterable[Measurement]) -> str:
    """The figures for machines."""
    declaration = backend.declaration
    return json.dumps(
        {
            "provider": declaration.scheme,
            "version": declaration.version,
            "measurements": [asdict(each) for each in measurements],
        },
        indent=2,
    )
