"""How long one instance takes: alone, in a long chain, by a timer, and beside a crowd."""

from __future__ import annotations

import asyncio
import itertools
import time
from statistics import median

from benchmarks.measuring import Measured, lap
from benchmarks.workloads.functions import STEPS, chain, check, fan_out, running, timer


async def latency(url: str, count: int) -> Measured:
    """Start, one activity, the result seen by the client; one after the other."""
    samples: list[float] = []
    async with running(url) as client:
        with lap() as took:
            for number in range(count):
                began = time.perf_counter()
                handle = await client.start_orchestration(f"latency-{number}", chain, 1)
                found = await handle.result(timeout=60)
                samples.append((time.perf_counter() - began) * 1000)
                check([found], [1])
        check([], [], ran=count)
    return Measured(
        figure=median(samples), samples_ms=samples, operations=count, cpu_seconds=took.cpu_seconds
    )


async def long_chain(url: str, length: int) -> Measured:
    """The steps of one chain: at its end as fast as at its beginning."""
    async with running(url) as client:
        with lap() as took:
            handle = await client.start_orchestration("long", chain, length)
            found = await handle.result(timeout=600)
        check([found], [length], ran=length)
    gaps = [(after - before) * 1000 for before, after in itertools.pairwise(STEPS)]
    tenth = max(1, len(gaps) // 10)
    return Measured(
        figure=median(gaps),
        samples_ms=gaps,
        operations=length,
        cpu_seconds=took.cpu_seconds,
        notes={
            "second tenth, ms": median(gaps[tenth : 2 * tenth]),
            "last tenth, ms": median(gaps[-tenth:]),
        },
    )


async def timers(url: str, count: int) -> Measured:
    """Timers that are due within one second: how late they fire."""
    async with running(url) as client:
        with lap() as took:
            handles = await asyncio.gather(
                *(
                    client.start_orchestration(f"timer-{n}", timer, 3.0 + n / count)
                    for n in range(count)
                )
            )
            late = await asyncio.gather(*(handle.result(timeout=120) for handle in handles))
    samples = [seconds * 1000 for seconds in late]
    return Measured(
        figure=median(samples), samples_ms=samples, operations=count, cpu_seconds=took.cpu_seconds
    )


async def crowd_beside_chain(url: str, width: int) -> Measured:
    """How long a chain of 5 takes while one fan-out of this width begins."""
    async with running(url) as client:
        with lap() as took:
            crowd = await client.start_orchestration("crowd", fan_out, width)
            await asyncio.sleep(0.01)
            began = time.perf_counter()
            handle = await client.start_orchestration("beside", chain, 5)
            chained = await handle.result(timeout=600)
            beside = (time.perf_counter() - began) * 1000
            found = await crowd.result(timeout=600)
        check([chained, found], [5, width], ran=width + 5)
    return Measured(
        figure=beside,
        operations=width,
        cpu_seconds=took.cpu_seconds,
        notes={"the fan-out, s": took.seconds},
    )
