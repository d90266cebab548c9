"""Measures a provider: throughput and latency of the main workloads, at the contract's level.

Use the figures to compare storages on one machine. They do not predict a runtime's speed: it keeps
instances in memory and lets many calls share a transaction.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import quantiles
from uuid import uuid4

from perdure.clock import SystemClock
from perdure.contract import Provider

from perdure_conformance.backend import Backend
from perdure_conformance.stress_workloads import WORKLOADS, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The figures of one workload. Latencies are of a whole operation, in milliseconds."""

    workload: str
    what: str
    operations: int
    callers: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


async def measure(backend: Backend, *, operations: int, callers: int) -> Sequence[Measurement]:
    """Run every workload, each in its own namespace, with this many concurrent callers."""
    found: list[Measurement] = []
    for step in WORKLOADS:
        namespace = f"stress-{uuid4().hex[:12]}"
        async with backend.open(clock=SystemClock(), namespace=namespace) as provider:
            found.append(await measure_one(provider, step, operations, callers))
    return found


async def measure_one(provider: Provider, step: Step, operations: int, callers: int) -> Measurement:
    """Run one workload."""
    numbers = iter(range(operations))
    latencies: list[float] = []

    async def caller() -> None:
        for number in numbers:
            began = time.perf_counter()
            await step(provider, number)
            latencies.append(1000 * (time.perf_counter() - began))

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    seconds = time.perf_counter() - began
    cuts = quantiles(latencies, n=100) if len(latencies) > 1 else latencies * 99
    return Measurement(
        workload=getattr(step, "__name__", "workload"),
        what=(step.__doc__ or "").strip(),
        operations=operations,
        callers=callers,
        per_second=round(operations / seconds, 1),
        p50_ms=round(cuts[49], 3),
        p95_ms=round(cuts[94], 3),
        p99_ms=round(cuts[98], 3),
    )


def as_table(measurements: Iterable[Measurement]) -> str:
    """The figures for a terminal."""
    lines = [f"{'workload':<10}{'per second':>12}{'p50 ms':>10}{'p95 ms':>10}{'p99 ms':>10}  what"]
    lines += [
        f"{each.workload:<10}{each.per_second:>12,.0f}{each.p50_ms:>10.2f}{each.p95_ms:>10.2f}"
        f"{each.p99_ms:>10.2f}  {each.what}"
        for each in measurements
    ]
    return "\n".join(lines)


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
