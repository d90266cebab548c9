"""What an orchestration costs in statements, each of which is a round trip, counted."""

import asyncio
import itertools
import re
from collections import Counter
from contextlib import contextmanager

import perdure
import pytest
from perdure.providers.loader import open_provider
from perdure_postgres import PostgresProvider, _signals

app = perdure.Registry()


@app.activity
async def greet(name: str) -> str:
    await is_waited_for.wait()
    return f"hello {name}"


is_waited_for = asyncio.Event()
"""Set while a client waits for the result: without it, an end may come before the first read."""


@app.orchestration
async def greeting(ctx: perdure.OrchestrationContext, name: str) -> str:
    return await ctx.schedule_activity(greet, name)


@contextmanager
def counted(provider):
    """Count the statements of a block by the function of the database that they call."""
    counts = Counter()

    def note(statement):
        counts[re.search(r"(\w+)\(", statement).group(1)] += 1

    provider.database.before_statement = note
    try:
        yield counts
    finally:
        provider.database.before_statement = None


class Rests:
    """Tells when the runtime's loop for turns rests, so that no look of an earlier run is under way."""

    def __init__(self, monkeypatch):
        self.count = 0
        self.rests = asyncio.Event()
        wait_for_work = PostgresProvider.wait_for_work

        async def noted_wait(provider, wait):
            if wait.serves is None:
                return await wait_for_work(provider, wait)
            self.count += 1
            self.rests.set()
            try:
                return await wait_for_work(provider, wait)
            finally:
                self.rests.clear()

        monkeypatch.setattr(PostgresProvider, "wait_for_work", noted_wait)

    async def until_it_rests(self):
        count = None
        while count != self.count or not self.rests.is_set():
            await self.rests.wait()
            count = self.count
            # A notification that came before ends the rest within some rounds of the event loop.
            for _ in range(50):
                await asyncio.sleep(0)


async def run(client, name):
    is_waited_for.clear()
    handle = await client.start_orchestration(name, greeting, "you")
    assert await handle.result(timeout=30) == "hello you"


@pytest.mark.slow
async def test_an_orchestration_with_an_activity_costs_six_statements(url, clock, monkeypatch):
    # No other process listens, so none has to be waited for, and none is told.
    monkeypatch.setattr(_signals, "_FOR_ANSWERS", 0)
    rests = Rests(monkeypatch)
    wait_for_change = PostgresProvider.wait_for_change

    async def noted_wait(provider, wait):
        is_waited_for.set()
        return await wait_for_change(provider, wait)

    monkeypatch.setattr(PostgresProvider, "wait_for_change", noted_wait)
    # Time stands still, so nothing is looked for again because time has passed.
    async with open_provider(url, clock=clock) as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        async with asyncio.timeout(30):
            for number in itertools.count():
                is_settled = provider._storage.if_open.signals.hears
                await run(client, f"early-{number}")
                if is_settled:
                    break

        await rests.until_it_rests()
        with counted(provider) as counts:
            await run(client, "counted")

    # The start and two commits; a look that leases the turn, and a read of when the next is due; a read
    # of the state at the begin of the wait. The last commit returns the state that
    # the client waits for, so of these the start, the lease and two commits are one after the other.
    assert counts == {"write": 3, "lease_turns": 1, "next_turn": 1, "read_instances": 1}, counts
