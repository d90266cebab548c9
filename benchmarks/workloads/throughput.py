"""Many instances at once."""

from __future__ import annotations

import asyncio

from benchmarks.measuring import Measured, lap
from benchmarks.workloads.functions import check, fan_out, one_event, play_chains, running

_WIDTH = 100


async def chains(url: str, count: int) -> Measured:
    """Chains of 5 activities."""
    async with running(url) as client:
        with lap() as took:
            await play_chains(client, "chain", count)
        done = 5 * count
        check([], [], ran=done)
    return Measured(figure=done / took.seconds, operations=done, cpu_seconds=took.cpu_seconds)


async def fan_outs(url: str, count: int) -> Measured:
    """Fan-outs of 100 activities."""
    async with running(url) as client:
        with lap() as took:
            handles = await asyncio.gather(
                *(client.start_orchestration(f"fan-{n}", fan_out, _WIDTH) for n in range(count))
            )
            found = await asyncio.gather(*(handle.result(timeout=600) for handle in handles))
        done = _WIDTH * count
        check(found, [_WIDTH] * count, ran=done)
    return Measured(figure=done / took.seconds, operations=done, cpu_seconds=took.cpu_seconds)


async def events(url: str, count: int) -> Measured:
    """Instances that wait, and an event for each."""
    async with running(url) as client:
        handles = await asyncio.gather(
            *(client.start_orchestration(f"event-{n}", one_event) for n in range(count))
        )
        await asyncio.sleep(1.0)
        with lap() as took:
            await asyncio.gather(*(handle.raise_event("go", "1") for handle in handles))
            found = await asyncio.gather(*(handle.result(timeout=600) for handle in handles))
        check(found, [1] * count)
    return Measured(figure=count / took.seconds, operations=count, cpu_seconds=took.cpu_seconds)
