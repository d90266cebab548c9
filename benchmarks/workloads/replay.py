"""A long history that a new runtime replays: how fast, and for how long the host's loop stands still."""

from __future__ import annotations

import asyncio
import time

import perdure

from benchmarks.measuring import Measured, lap
from benchmarks.workloads.functions import app, chain_and_wait, check


async def replay(url: str, events: int) -> Measured:
    """Events a second, from the event that wakes the instance to its end."""
    gaps: list[float] = []
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        async with perdure.Runtime(provider, app):
            handle = await client.start_orchestration("replayed", chain_and_wait, events // 2 - 1)
            while (await client.get_execution_info("replayed", 1)).event_count < events:  # noqa: ASYNC110 # it is written by the runtime
                await asyncio.sleep(0.02)
        async with perdure.Runtime(provider, app):
            watching = asyncio.create_task(_watch(gaps))
            with lap() as took:
                await handle.raise_event("go", "1")
                found = await handle.result(timeout=600)
            watching.cancel()
        check([found], [1], ran=events // 2 - 1)
    return Measured(
        figure=events / took.seconds,
        samples_ms=gaps,
        operations=events,
        cpu_seconds=took.cpu_seconds,
        notes={"the loop stood still at most, ms": max(gaps)},
    )


async def _watch(gaps: list[float]) -> None:
    """Note in milliseconds of this thread's processor time how long each round of the loop takes."""
    before = time.thread_time()
    while True:
        await asyncio.sleep(0)
        now = time.thread_time()
        gaps.append((now - before) * 1000)
        before = now
