"""A patch in the storage: an instance that records one needs a runtime that knows patches."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import perdure
from perdure import OrchestrationContext
from perdure.contract import Serves, TurnRequest

app = perdure.Registry()


@app.orchestration
async def pay(ctx: OrchestrationContext) -> bool:
    await ctx.schedule_wait("paid")
    if ctx.patched("add-check"):
        await ctx.schedule_wait("checked")
    return ctx.patched("add-check")


async def test_an_instance_that_records_a_patch_is_left_alone_by_runtimes_without_patches() -> None:
    async with perdure.open_provider("memory://") as provider:
        client = perdure.Client(provider)

        async def engine() -> int:
            state = await provider.read_instance("pay-1")
            assert state is not None
            return state.engine

        async with perdure.Runtime(provider, app), asyncio.timeout(10):
            handle = await client.start_orchestration("pay-1", pay)
            assert await engine() == 1
            await handle.raise_event("paid")
            while not await patched(client):  # noqa: ASYNC110 # there is no event for it
                await asyncio.sleep(0.001)
            assert await engine() == 2
        await handle.raise_event("checked")
        before_patches = Serves(orchestrations={"pay": frozenset({"1.0.0"})}, engine=1)
        request = TurnRequest(
            serves=before_patches,
            token="old",  # noqa: S106 # the token of a lease
            lease_for=timedelta(seconds=10),
            limit=10,
        )

        assert not await provider.lease_turns(request)
        async with perdure.Runtime(provider, app):
            assert await handle.result(timeout=10) is True


async def patched(client: perdure.Client) -> bool:
    events = await client.read_execution_history("pay-1", 1)
    return any(event.kind == "PatchApplied" for event in events)
