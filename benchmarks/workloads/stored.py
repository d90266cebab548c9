"""A store that holds many ended instances: what new ones pay for the old ones."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from statistics import median

import perdure
from perdure.contract import Provider

from benchmarks.measuring import Measured, lap, processor_seconds
from benchmarks.workloads.functions import app, chain, play_chains

_CHAINS = 200
_AT_ONCE = 500


async def stored(url: str, count: int) -> Measured:
    """Chains of 5 beside the old ones, and the other costs that could grow with what is stored."""
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, app):
            for begin in range(0, count, _AT_ONCE):
                await play_chains(client, f"old-{begin}", min(_AT_ONCE, count - begin))
            size = _bytes_of(url)
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


def _bytes_of(url: str) -> int:
    """The size of the file; 0 if the store is none."""
    scheme, _, rest = url.partition(":///")
    return Path(rest.partition("?")[0]).stat().st_size if scheme == "sqlite" else 0


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
