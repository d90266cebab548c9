"""A store that holds many ended instances: what new ones pay for the old ones."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from statistics import median

import perdure
from perdure.contract import Provider

from benchmarks.measuring import Measured, lap, processor_seconds
from benchmarks.workloads.ended import bytes_in_use, fill
from benchmarks.workloads.functions import app, chain, play_chains

_CHAINS = 200
_WARMING = 50


async def stored(url: str, count: int) -> Measured:
    """Chains of 5 beside the old ones, and the other costs that could grow with what is stored."""
    await fill(url, count)
    size = bytes_in_use(url)
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, app):
            await play_chains(client, "warm-up", _WARMING)
            with lap() as took:
                await play_chains(client, "new", _CHAINS)
            starts = await _starts(client)
            notes = {
                "start, ms": median(starts),
                "system metrics, ms": await _metrics(client),
                "idle, % of a core": await _idle(provider),
            }
            if size:
                notes["bytes per ended instance"] = size / count
    done = 5 * _CHAINS
    return Measured(
        figure=done / took.seconds,
        samples_ms=starts,
        operations=done,
        cpu_seconds=took.cpu_seconds,
        notes=notes,
    )


async def _starts(client: perdure.Client) -> list[float]:
    samples: list[float] = []
    for number in range(100):
        began = time.perf_counter()
        handle = await client.start_orchestration(f"start-{number}", chain, 1)
        samples.append((time.perf_counter() - began) * 1000)
        await handle.result(timeout=60)
    return samples


async def _metrics(client: perdure.Client) -> float:
    began = time.perf_counter()
    await client.get_system_metrics()
    return (time.perf_counter() - began) * 1000


async def _idle(provider: Provider) -> float:
    await asyncio.sleep(1.0)
    before, began = processor_seconds(), time.perf_counter()
    await provider.clock.sleep(timedelta(seconds=5))
    return (processor_seconds() - before) / (time.perf_counter() - began) * 100
