"""Different workers for different work: one machine has the GPU, another one the orchestrations."""

import asyncio

import perdure

control = perdure.Registry()
workshop = perdure.Registry()


@workshop.activity
async def render(scene: str) -> str:
    return f"{scene}.png"


@control.orchestration
async def film(ctx: perdure.OrchestrationContext, scenes: list[str]) -> list[str]:
    return [
        await ctx.schedule_activity("render", scene, result_type=str, tag="gpu") for scene in scenes
    ]


async def main() -> None:
    machine = perdure.RuntimeOptions(tags=frozenset({"gpu"}), max_concurrent_activities=1)
    async with perdure.open_provider("memory://") as provider:
        async with perdure.Runtime(provider, control):
            async with perdure.Runtime(provider, workshop, options=machine):
                handle = await perdure.Client(provider).start_orchestration("f", film, ["a", "b"])
                assert await handle.result(timeout=30) == ["a.png", "b.png"]


asyncio.run(main())
