"""How much memory payloads in flight take: `python benchmarks/memory.py [--count 100] [--megabytes 1]`.

Stores instances with large inputs, then lets one runtime run the first turns of all of them,
until each has its activity under way with the same payload. Prints, for each MB of payload, what
is held then and what the peak before was: of Python's own allocations, and of the process (by
the kernel's account, SQLite's pages included), each in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import resource
import tempfile
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import perdure

MEGABYTE = 1_000_000


async def run(url: str, count: int, size: int, traced: bool) -> tuple[float, float]:
    """Bytes held, and bytes at the peak, for each byte of payload."""
    app, arrived, gate = perdure.Registry(), asyncio.Semaphore(0), asyncio.Event()

    @app.activity
    async def hold(text: str) -> None:
        arrived.release()
        await gate.wait()

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext, text: str) -> None:
        await ctx.schedule_activity(hold, text)

    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        for number in range(count):
            await client.start_orchestration(f"i-{number}", flow, "x" * size)
        gc.collect()
        before = resident()
        if traced:
            tracemalloc.start()
        async with perdure.Runtime(provider, app):
            for _ in range(count):
                await arrived.acquire()
            await asyncio.sleep(0.1)
            gc.collect()
            if traced:
                held, peak = tracemalloc.get_traced_memory()
            else:
                held = resident() - before
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
            gate.set()
        return held / count / size, peak / count / size


def resident() -> int:
    """The memory of this process that is in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(count: int, size: int, traced: bool) -> tuple[float, float]:
    """In a process of its own, whose peak is this run's."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(f"sqlite:///{folder}/x.db", count, size, traced))


def main() -> None:
    """Print both accounts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--megabytes", type=float, default=1.0)
    arguments = parser.parse_args()
    size = int(arguments.megabytes * MEGABYTE)
    context = multiprocessing.get_context("spawn")
    for traced, account in ((True, "allocated by Python"), (False, "resident")):
        with ProcessPoolExecutor(max_workers=1, mp_context=context) as process:
            held, peak = process.submit(measure, arguments.count, size, traced).result()
        print(f"{account:>20}: held {held:.1f}, at the peak {peak:.1f} bytes for each byte")


if __name__ == "__main__":
    main()
