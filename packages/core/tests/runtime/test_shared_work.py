"""Several runtimes on one storage: each gets a share of what is ready."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import perdure
from perdure.contract import DelegatingProvider, TurnRequest
from perdure.runtime import bytes_in_flight

JOBS = 200
RUNTIMES = 4

app = perdure.Registry()


@app.activity
async def step() -> None:
    pass


@app.orchestration
async def job(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_activity(step)


class Worker(DelegatingProvider):
    """The storage as one runtime has it: looks begin together, and what they lease is counted."""

    def __init__(self, inner, begin: asyncio.Event) -> None:
        super().__init__(inner)
        self._begin = begin
        self.asks = asyncio.Event()
        self.share = 0

    async def lease_turns(self, request: TurnRequest):
        self.asks.set()
        await self._begin.wait()
        leased = await super().lease_turns(request)
        self.share += len(leased)
        return leased


async def test_runtimes_that_begin_at_once_share_what_is_ready(provider, monkeypatch) -> None:
    # As if each had seen that the payloads are small; before, it asks for a few.
    monkeypatch.setattr(bytes_in_flight, "_FIRST_CALL", 1000)
    client = perdure.Client(provider)
    handles = [await client.start_orchestration(f"i{n}", job) for n in range(JOBS)]
    begin = asyncio.Event()
    workers = [Worker(provider, begin) for _ in range(RUNTIMES)]
    async with AsyncExitStack() as runtimes, asyncio.timeout(60):
        for worker in workers:
            await runtimes.enter_async_context(perdure.Runtime(worker, app))
            await worker.asks.wait()
        begin.set()
        await asyncio.gather(*(handle.result() for handle in handles))

    shares = sorted(worker.share for worker in workers)
    assert sum(shares) == JOBS
    assert shares[-1] <= 2 * shares[0], shares
