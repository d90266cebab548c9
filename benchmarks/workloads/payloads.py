"""Large payloads: how fast they pass, and how much memory they take while they are under way."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from pathlib import Path

import perdure

from benchmarks.measuring import Measured, lap
from benchmarks.workloads.functions import check, payload_chain, running

_SIZE = 100_000
_MEGABYTE = 1_000_000


async def payloads(url: str, count: int) -> Measured:
    """Chains of 5 activities that pass 100 KB on."""
    async with running(url) as client:
        with lap() as took:
            handles = await asyncio.gather(
                *(
                    client.start_orchestration(f"payload-{n}", payload_chain, "x" * _SIZE)
                    for n in range(count)
                )
            )
            found = await asyncio.gather(*(handle.result(timeout=600) for handle in handles))
        done = 5 * count
        check(found, [_SIZE] * count, ran=done)
    return Measured(figure=done / took.seconds, operations=done, cpu_seconds=took.cpu_seconds)


async def in_flight(url: str, count: int) -> Measured:
    """Resident bytes at the peak for each byte of payload, while as many activities run as may."""
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
        handles = [
            await client.start_orchestration(f"i-{number}", flow, "x" * _MEGABYTE)
            for number in range(count)
        ]
        gc.collect()
        before = _resident()
        with lap() as took:
            async with perdure.Runtime(provider, app):
                running = await _arrivals(arrived, count)
                gc.collect()
                held = _resident() - before
                gate.set()
                for handle in handles:
                    await handle.result(timeout=600)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return Measured(
        figure=peak / count / _MEGABYTE,
        operations=count,
        cpu_seconds=took.cpu_seconds,
        notes={"held, bytes": held / count / _MEGABYTE, "activities at once": running},
    )


async def _arrivals(arrived: asyncio.Semaphore, most: int) -> int:
    """How many activities run before no other begins for a second: a runtime may hold back the rest."""
    for count in range(most):
        try:
            async with asyncio.timeout(1):
                await arrived.acquire()
        except TimeoutError:
            return count
    return most


def _resident() -> int:
    """The memory of this process that is in use now, or where that is not told, at its peak."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return int(statm.read_text().split()[1]) * resource.getpagesize()
