"""What a runtime keeps in memory of large payloads while work is under way."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path

import perdure
import pytest
from perdure.contract import CommitAnswer, DelegatingProvider, Provider, TurnCommit
from perdure.runtime.bytes_in_flight import BytesInFlight
from perdure.runtime.payload_budget import PayloadBudget
from perdure.testing import Stage

from .wrapping import Wrapping

MEGABYTE = 1_000_000
COUNT = 10
LIMIT = BytesInFlight(perdure.RuntimeOptions().max_bytes_in_flight).commits


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

    async with Stage(app, url=f"sqlite:///{tmp_path / 'x.db'}") as stage:
        client = stage.client
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
        lengths = [await handle.result() for handle in handles]

    assert lengths == [MEGABYTE] * COUNT
    # The history's text, and what either function was called with; what carried them is let go.
    assert held / COUNT / MEGABYTE < 4


class HoldingCommits(DelegatingProvider):
    """Keeps every commit under way until the gate is open."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.arrived = asyncio.Semaphore(0)
        self.gate = asyncio.Event()
        self.bytes = self.most = 0

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        size = sum(map(len, commit.events))
        self.bytes += size
        self.most = max(self.most, self.bytes)
        self.arrived.release()
        await self.gate.wait()
        self.bytes -= size
        return await super().commit_turn(commit)


async def test_large_turns_are_made_and_committed_a_few_at_a_time() -> None:
    app, size, count = perdure.Registry(), LIMIT // 8, 20

    @app.orchestration
    async def flow(ctx: perdure.OrchestrationContext, text: str) -> int:
        return len(text)

    wrapping = Wrapping(HoldingCommits)
    async with Stage(app, plugins=[wrapping]) as stage:
        holding, client = wrapping.provider, stage.client
        await asyncio.gather(
            *(
                client.start_orchestration(f"{number}", flow, "x" * (size - 100))
                for number in range(count)
            ),
            *(client.start_orchestration(f"small {number}", flow, "x") for number in range(count)),
        )
        for _ in range(8 + count):
            await holding.arrived.acquire()
        for _ in range(100):
            await asyncio.sleep(0)

        # Small turns do not wait for large ones.
        assert holding.arrived.locked()
        assert holding.most < LIMIT + count * 1000
        holding.gate.set()
        for number in range(count):
            await client.wait_for_orchestration(f"{number}")


async def test_a_turn_that_is_larger_than_the_budget_is_made_alone() -> None:
    budget, order = PayloadBudget(LIMIT), list[str]()

    async def hold(name: str, size: int, gate: asyncio.Event) -> None:
        async with budget.take(size):
            order.append(name)
            await gate.wait()

    gates = [asyncio.Event() for _ in range(4)]
    sizes = (LIMIT // 2, 3 * LIMIT, LIMIT // 2, LIMIT // 2)
    tasks = [
        asyncio.create_task(hold(name, size, gate))
        for name, size, gate in zip("abcd", sizes, gates, strict=True)
    ]
    seen: list[str] = []
    for gate in gates:
        for _ in range(5):
            await asyncio.sleep(0)
        seen.append("".join(order))
        gate.set()
    await asyncio.gather(*tasks)

    # Nothing overtakes it, and what fits together goes on together behind it.
    assert seen == ["a", "ab", "abcd", "abcd"]


async def test_who_no_longer_waits_for_the_budget_holds_up_nothing() -> None:
    budget = PayloadBudget(LIMIT)

    async def hold(size: int) -> str:
        async with budget.take(size):
            return "made"

    async with budget.take(LIMIT // 2):
        large = asyncio.create_task(hold(LIMIT))
        small = asyncio.create_task(hold(LIMIT // 2))
        await asyncio.sleep(0)
        large.cancel()

        assert await small == "made"
    async with budget.take(LIMIT):
        late = asyncio.create_task(hold(LIMIT))
        await asyncio.sleep(0)
    late.cancel()  # let in, and cancelled before it could go on
    await asyncio.wait([late])

    assert await hold(LIMIT) == "made"
