"""The rows for Perdure, on any provider that one process or several can open by a URL."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from benchmarks.measuring import Measured
from benchmarks.workloads.crowds import idle, sleeping, waiting
from benchmarks.workloads.latency import crowd_beside_chain, latency, long_chain, timers
from benchmarks.workloads.payloads import in_flight, payloads
from benchmarks.workloads.processes import processes, processes_1ms
from benchmarks.workloads.replay import replay
from benchmarks.workloads.stored import stored
from benchmarks.workloads.throughput import chains, events, fan_outs

Workload = Callable[[str, int], Coroutine[Any, Any, Measured]]
"""Plays the row in a new store at this URL, of this size."""

WORKLOADS: Mapping[str, Workload] = {
    "chains": chains,
    "fan_outs": fan_outs,
    "latency": latency,
    "long_chain": long_chain,
    "timers": timers,
    "events": events,
    "replay": replay,
    "payloads": payloads,
    "in_flight": in_flight,
    "crowd_beside_chain": crowd_beside_chain,
    "sleeping": sleeping,
    "waiting": waiting,
    "idle": idle,
    "stored": stored,
    "processes": processes,
    "processes_1ms": processes_1ms,
}
ON_A_FILE = frozenset({"in_flight", "stored", "processes", "processes_1ms"})
"""Rows that need a store that outlives its process."""
