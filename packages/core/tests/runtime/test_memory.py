"""What a runtime keeps in memory of large payloads while work is under way."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import perdure
import pytest

MEGABYTE = 1_000_000
COUNT = 10


@pytest.mark.slow
async def test_under_way_an_input_is_held_once_for_the_history_and_once_for_each_function(
    tmp_path: Path,
) -> None:
    app, arrived, gate = perdure.Registry(), asyncio.Semaphore(0), asyncio.Event()

    @app.activity
    async def hold(text: str) -> int:
        arrived.release()
        await gate.wait()
        return len(text)

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext, text: str) -> int:
        return await ctx.schedule_activity(hold, text)

    async with (
        perdure.open_provider(f"sqlite:///{tmp_path / 'x.db'}") as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        tracemalloc.start()
        try:
            handles = [
                await client.start_orchestration(f"i-{number}", flow, "x" * MEGABYTE)
                for number in range(COUNT)
            ]
            for _ in range(COUNT):
                await arrived.acquire()
            await asyncio.sleep(0)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        gate.set()
        lengths = [await handle.result(timeout=30) for handle in handles]

    assert lengths == [MEGABYTE] * COUNT
    # The history's text, and what either function was called with; what carried them is let go.
    assert held / COUNT / MEGABYTE < 4
