"""The server breaks off everything while work runs, and starts again: nothing acknowledged is lost."""

import asyncio
import os
from contextlib import suppress

import perdure
import pytest
from perdure import InstanceAlreadyExists, StorageUnavailable
from perdure.contract.delegate import DelegatingProvider

RESTARTS = int(os.environ.get("PERDURE_RESTARTS", "3"))
DRIVERS = 12
STEPS = 4
ENDED_BETWEEN = 15
"""How many instances end between two crashes, so that each falls into work."""

app = perdure.Registry()


@app.activity
async def tell_delivery() -> int:
    """Which delivery this is."""
    return perdure.activity_context().delivery


@app.orchestration
async def count_deliveries(ctx: perdure.OrchestrationContext) -> list[int]:
    """The delivery in which each of a few activities ended."""
    return [await ctx.schedule_activity(tell_delivery) for _ in range(STEPS)]


class Attempts(DelegatingProvider):
    """Notes the attempts of the turns that a runtime leases."""

    def __init__(self, inner):
        super().__init__(inner)
        self.seen = set()

    async def lease_turns(self, request):
        leased = await self.inner.lease_turns(request)
        self.seen.update(turn.attempt for turn in leased)
        return leased


class Load:
    """Drives one instance after the other to its end, and notes what was acknowledged."""

    def __init__(self, client):
        self.client = client
        self.acknowledged = []
        self.outputs = {}
        self.ends = asyncio.Queue()
        self.goes_on = True

    async def drive(self, driver):
        number = 0
        while self.goes_on:
            instance = f"{driver}-{number}"
            await self.persist(self.start, instance)
            self.acknowledged.append(instance)
            self.outputs[instance] = await self.persist(
                self.client.wait_for_orchestration_typed, instance, list[int], 30
            )
            self.ends.put_nowait(instance)
            number += 1

    async def start(self, instance):
        # A try whose answer was lost has made it.
        with suppress(InstanceAlreadyExists):
            await self.client.start_orchestration(instance, count_deliveries)

    async def persist(self, call, *arguments):
        while True:
            with suppress(StorageUnavailable):
                return await call(*arguments)

    async def ended(self, count):
        for _ in range(count):
            await self.ends.get()


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * RESTARTS)
async def test_a_server_that_crashes_under_load_loses_nothing_and_costs_no_attempt(server):
    async with perdure.open_provider(server.url) as provider:
        attempts = Attempts(provider)
        async with perdure.Runtime(attempts, app):
            load = Load(perdure.Client(provider))
            drivers = [asyncio.ensure_future(load.drive(each)) for each in range(DRIVERS)]
            for _ in range(RESTARTS):
                await load.ended(ENDED_BETWEEN)
                server.crash()
                await asyncio.to_thread(server.restart)
            await load.ended(ENDED_BETWEEN)
            load.goes_on = False
            await asyncio.gather(*drivers)

    assert load.outputs == dict.fromkeys(load.acknowledged, [1] * STEPS)
    assert attempts.seen == {1}
