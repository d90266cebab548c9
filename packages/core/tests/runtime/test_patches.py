"""A patch in the storage: an instance that records one needs a runtime that knows patches."""

from __future__ import annotations

from datetime import timedelta

import perdure
from perdure import OrchestrationContext
from perdure.contract import Serves, TurnRequest
from perdure.testing import Stage

app = perdure.Registry()


@app.orchestration
async def pay(ctx: OrchestrationContext) -> bool:
    await ctx.schedule_wait("paid")
    if ctx.patched("add-check"):
        await ctx.schedule_wait("checked")
    return ctx.patched("add-check")


async def test_an_instance_that_records_a_patch_is_left_alone_by_runtimes_without_patches() -> None:
    async with Stage(app) as stage:
        provider = stage.client.provider

        async def engine() -> int:
            state = await provider.read_instance("pay-1")
            assert state is not None
            return state.engine

        handle = await stage.start(pay)
        await stage.settle()
        assert await engine() == 1
        await handle.raise_event("paid")
        await stage.settle()
        assert await engine() == 2
        await stage.restart(perdure.Registry())
        await handle.raise_event("checked")
        before_patches = Serves(orchestrations={"pay": frozenset({"1.0.0"})}, engine=1)
        request = TurnRequest(
            serves=before_patches,
            token="old",  # noqa: S106 # the token of a lease
            lease_for=timedelta(seconds=10),
            limit=10,
        )

        assert not await provider.lease_turns(request)
        await stage.restart(app)
        assert await handle.result() is True
