"""The main workloads, on any provider: `python benchmarks/workloads.py sqlite:///bench.db`.

Prints the machine, the versions, and for each workload its rate and percentiles, as a table or,
with `--json`, as JSON. Absolute figures of a shared machine mean little: compare figures of one
run, or of runs side by side. Everything is bounded in count; nothing leaves the process.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles

import perdure
from perdure.contract import Provider

app = perdure.Registry()
_started: dict[str, float] = {}
_steps: list[float] = []


@app.activity
async def nothing(value: int) -> int:
    """Does nothing, so that what is measured is the engine and the store."""
    return value


@app.activity
async def note_time(value: int) -> int:
    """Notes when each step of a long chain ran."""
    _steps.append(time.perf_counter())
    return value


@app.orchestration
async def chain(ctx: perdure.OrchestrationContext, length: int) -> int:
    """Activities one after the other."""
    for step in range(length):
        await ctx.schedule_activity(nothing, step)
    return length


@app.orchestration
async def long_chain(ctx: perdure.OrchestrationContext, length: int) -> int:
    """The same, each step noting its time."""
    for step in range(length):
        await ctx.schedule_activity(note_time, step)
    return length


@app.orchestration
async def fan_out(ctx: perdure.OrchestrationContext, width: int) -> int:
    """Activities side by side."""
    return len(await asyncio.gather(*(ctx.schedule_activity(nothing, n) for n in range(width))))


@app.orchestration
async def timer(ctx: perdure.OrchestrationContext, seconds: float) -> float:
    """How late a timer fires, in seconds."""
    due = ctx.now() + timedelta(seconds=seconds)
    await ctx.schedule_timer(due)
    return (ctx.now() - due).total_seconds()


@app.orchestration
async def one_event(ctx: perdure.OrchestrationContext) -> int:
    """Waits for one event."""
    return await ctx.schedule_wait("go", int)


@app.orchestration
async def chain_and_wait(ctx: perdure.OrchestrationContext, length: int) -> int:
    """A chain with a pause at its end, to be replayed."""
    for step in range(length):
        await ctx.schedule_activity(nothing, step)
    return await ctx.schedule_wait("go", int)


@dataclass
class Figures:
    """What a workload gave."""

    name: str
    rate: float | None = None
    unit: str = ""
    samples_ms: list[float] = field(default_factory=list[float])
    note: str = ""

    def percentile(self, share: int) -> float | None:
        """In milliseconds."""
        if len(self.samples_ms) < 2:
            return None
        return quantiles(self.samples_ms, n=100, method="inclusive")[share - 1]

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "workload": self.name,
            "rate": self.rate,
            "unit": self.unit,
            "p50_ms": self.percentile(50),
            "p95_ms": self.percentile(95),
            "p99_ms": self.percentile(99),
            "note": self.note,
        }


async def chains(client: perdure.Client, size: float) -> Figures:
    """500 chains of 5 at once."""
    count, length = max(1, int(500 * size)), 5
    began = time.perf_counter()
    handles = await asyncio.gather(
        *(client.start_orchestration(f"chain-{n}", chain, length) for n in range(count))
    )
    await asyncio.gather(*(handle.result(timeout=300) for handle in handles))
    took = time.perf_counter() - began
    return Figures(f"{count} chains of {length}", count * length / took, "activities/s")


async def fan_outs(client: perdure.Client, size: float) -> Figures:
    """20 fan-outs of 100 at once."""
    count, width = max(1, int(20 * size)), 100
    began = time.perf_counter()
    handles = await asyncio.gather(
        *(client.start_orchestration(f"fan-{n}", fan_out, width) for n in range(count))
    )
    await asyncio.gather(*(handle.result(timeout=300) for handle in handles))
    took = time.perf_counter() - began
    return Figures(f"{count} fan-outs of {width}", count * width / took, "activities/s")


async def latency(client: perdure.Client, size: float) -> Figures:
    """Start, one activity, the result seen by the client; one after the other."""
    count = max(20, int(300 * size))
    samples: list[float] = []
    for n in range(count):
        began = time.perf_counter()
        handle = await client.start_orchestration(f"latency-{n}", chain, 1)
        await handle.result(timeout=60)
        samples.append((time.perf_counter() - began) * 1000)
    warm = samples[count // 10 :]
    return Figures("start, 1 activity, result", 1000 / (sum(warm) / len(warm)), "/s", warm)


async def steps(client: perdure.Client, size: float) -> Figures:
    """One chain of 2,000: the cost of a step at the beginning and at the end."""
    length = max(100, int(2000 * size))
    _steps.clear()
    handle = await client.start_orchestration("long", long_chain, length)
    await handle.result(timeout=600)
    gaps = [(b - a) * 1000 for a, b in itertools.pairwise(_steps)]
    tenth = max(1, len(gaps) // 10)
    first = sorted(gaps[tenth : 2 * tenth])[tenth // 2]
    last = sorted(gaps[-tenth:])[tenth // 2]
    note = f"median of a step: second tenth {first:.3f} ms, last tenth {last:.3f} ms"
    return Figures(f"chain of {length}", 1000 * len(gaps) / sum(gaps), "steps/s", gaps, note)


async def timers(client: perdure.Client, size: float) -> Figures:
    """1,000 timers that are due within one second: how late they fire."""
    count = max(10, int(1000 * size))
    handles = await asyncio.gather(
        *(client.start_orchestration(f"timer-{n}", timer, 2.0 + n / count) for n in range(count))
    )
    late = await asyncio.gather(*(handle.result(timeout=120) for handle in handles))
    return Figures(f"{count} timers, lateness", None, "", [seconds * 1000 for seconds in late])


async def events(client: perdure.Client, size: float) -> Figures:
    """500 instances that wait, one event each."""
    count = max(10, int(500 * size))
    handles = await asyncio.gather(
        *(client.start_orchestration(f"event-{n}", one_event) for n in range(count))
    )
    await asyncio.sleep(1.0)
    began = time.perf_counter()
    await asyncio.gather(*(handle.raise_event("go", "1") for handle in handles))
    await asyncio.gather(*(handle.result(timeout=120) for handle in handles))
    took = time.perf_counter() - began
    return Figures(f"{count} events", count / took, "completions/s")


async def replay(provider: Provider, size: float) -> Figures:
    """10,000 steps that a new runtime replays: for how long the host's loop stands still."""
    length = max(100, int(10_000 * size))
    client = perdure.Client(provider)
    async with perdure.Runtime(provider, app):
        handle = await client.start_orchestration("replayed", chain_and_wait, length)
        while (await client.get_execution_info("replayed", 1)).event_count < 2 * length + 2:  # noqa: ASYNC110 # it is written by the runtime
            await asyncio.sleep(0.02)
    gaps: list[float] = []
    async with perdure.Runtime(provider, app):
        watching = asyncio.create_task(_watch(gaps))
        began = time.perf_counter()
        await handle.raise_event("go", "1")
        await handle.result(timeout=300)
        took = time.perf_counter() - began
        watching.cancel()
    note = f"the loop stood still for {max(gaps):.1f} ms at most"
    return Figures(f"replay of {length} steps", length / took, "steps/s", gaps, note)


async def _watch(gaps: list[float]) -> None:
    """Note in milliseconds of this thread how long each round of the loop takes."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        gaps.append((now - before) * 1000)
        before = now


async def idle(client: perdure.Client, size: float) -> Figures:
    """The share of one core that an idle runtime uses."""
    del client
    seconds = max(2.0, 10.0 * size)
    await asyncio.sleep(1.0)
    before, began = _cpu(), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (_cpu() - before) / (time.perf_counter() - began) * 100
    return Figures("idle runtime", share, "% of a core")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


Workload = Callable[[perdure.Client, float], Awaitable[Figures]]
WORKLOADS: dict[str, Workload] = {
    "chains": chains,
    "fan_outs": fan_outs,
    "latency": latency,
    "steps": steps,
    "timers": timers,
    "events": events,
    "idle": idle,
}
COLD: dict[str, Callable[[Provider, float], Awaitable[Figures]]] = {
    "replay": replay,
}
"""Workloads that start and end runtimes themselves."""


async def measure(url: str, names: list[str], size: float) -> list[Figures]:
    """Run the workloads one after the other, each in a runtime of its own."""
    results: list[Figures] = []
    for name in names:
        if name in COLD:
            async with perdure.open_provider(_namespaced(url, name)) as provider:
                results.append(await COLD[name](provider, size))
            continue
        async with (
            perdure.open_provider(_namespaced(url, name)) as provider,
            perdure.Runtime(provider, app),
        ):
            client = perdure.Client(provider)
            # Whatever is imported or built at the first use is no part of any figure.
            warm_up = await client.start_orchestration("warm-up", chain, 3)
            await warm_up.result(timeout=60)
            results.append(await WORKLOADS[name](client, size))
    return results


def _namespaced(url: str, name: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}namespace={name}-{os.getpid()}"


def _machine() -> dict[str, str]:
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "perdure": version("perdure"),
    }


def main() -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="the provider's URL; default: a new SQLite file")
    parser.add_argument("--only", action="append", choices=[*WORKLOADS, *COLD], default=None)
    parser.add_argument("--size", type=float, default=1.0, help="scales the counts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{Path(folder) / 'bench.db'}"
        results = asyncio.run(measure(url, arguments.only or [*WORKLOADS, *COLD], arguments.size))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if arguments.json:
        plain = {**_machine(), "url": arguments.url or "sqlite (new file)", "peak_mib": peak}
        json.dump({**plain, "results": [one.plain() for one in results]}, sys.stdout, indent=2)
        return
    for key, value in _machine().items():
        print(f"{key:>10}: {value}")
    print(f"{'peak':>10}: {peak:.0f} MiB\n")
    print(f"{'workload':<28}{'rate':>10} {'unit':<15}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}")
    for one in results:
        rate = "" if one.rate is None else f"{one.rate:,.1f}"
        shares = "".join(
            f"{'' if (value := one.percentile(share)) is None else f'{value:.2f}':>9}"
            for share in (50, 95, 99)
        )
        print(f"{one.name:<28}{rate:>10} {one.unit:<15}{shares}  {one.note}")


if __name__ == "__main__":
    main()
