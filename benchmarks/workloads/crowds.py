"""Many instances that wait: what waking one takes, what the crowd costs while nothing happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import perdure

from benchmarks.measuring import Measured, lap, processor_seconds
from benchmarks.workloads.functions import app, one_event, running, sleeper

_WOKEN = 20
_AT_ONCE = 500
_A_DAY = 86_400


async def sleeping(url: str, count: int) -> Measured:
    """Instances that sleep for a day, some of which are woken."""

    def start(client: perdure.Client, instance: str) -> Awaitable[perdure.Handle[Any]]:
        return client.start_orchestration(instance, sleeper, _A_DAY)

    return await _crowd(url, count, start, "wake")


async def waiting(url: str, count: int) -> Measured:
    """Instances that wait for an event, which some of them get."""

    def start(client: perdure.Client, instance: str) -> Awaitable[perdure.Handle[Any]]:
        return client.start_orchestration(instance, one_event)

    return await _crowd(url, count, start, "go")


async def _crowd(
    url: str,
    count: int,
    start: Callable[[perdure.Client, str], Awaitable[perdure.Handle[Any]]],
    event: str,
) -> Measured:
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, app) as runtime:
            with lap() as took:
                for begin in range(0, count, _AT_ONCE):
                    numbers = range(begin, min(begin + _AT_ONCE, count))
                    await asyncio.gather(*(start(client, f"crowd-{n}") for n in numbers))
                while runtime.statistics.turns_committed < count:  # noqa: ASYNC110 # the runtime counts them
                    await asyncio.sleep(0.02)
            await asyncio.sleep(1.0)
            idle = await _idle_share(5.0)
            samples: list[float] = []
            for number in range(0, count, max(1, count // _WOKEN)):
                handle = client.get_handle(f"crowd-{number}")
                began = time.perf_counter()
                await handle.raise_event(event, "1")
                await handle.result(timeout=60)
                samples.append((time.perf_counter() - began) * 1000)
    return Measured(
        figure=median(samples),
        samples_ms=samples,
        operations=count,
        cpu_seconds=took.cpu_seconds,
        notes={"idle, % of a core": idle, "to rest, s": took.seconds},
    )


async def idle(url: str, seconds: int) -> Measured:
    """The share of one core that an idle runtime uses."""
    async with running(url):
        await asyncio.sleep(1.0)
        return Measured(figure=await _idle_share(seconds))


async def _idle_share(seconds: float) -> float:
    before, began = processor_seconds(), time.perf_counter()
    await asyncio.sleep(seconds)
    return (processor_seconds() - before) / (time.perf_counter() - began) * 100
