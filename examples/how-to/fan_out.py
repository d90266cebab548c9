"""Fan-out: everything at once, a bounded number at once, and partial failures."""

import asyncio

import perdure

app = perdure.Registry()


@app.activity
async def thumbnail(picture: str) -> str:
    if picture.endswith(".txt"):
        raise ValueError(f"{picture} is no picture")
    return picture.replace(".png", ".thumb.png")


@app.orchestration
async def all_at_once(ctx: perdure.OrchestrationContext, pictures: list[str]) -> list[str]:
    return await asyncio.gather(*(ctx.schedule_activity(thumbnail, each) for each in pictures))


@app.orchestration
async def two_at_once(ctx: perdure.OrchestrationContext, pictures: list[str]) -> list[str]:
    free = asyncio.Semaphore(2)

    async def make(picture: str) -> str:
        async with free:
            return await ctx.schedule_activity(thumbnail, picture)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(make(picture)) for picture in pictures]
    return [task.result() for task in tasks]


@app.orchestration
async def what_works(ctx: perdure.OrchestrationContext, pictures: list[str]) -> list[str]:
    results = await asyncio.gather(
        *(ctx.schedule_activity(thumbnail, each) for each in pictures), return_exceptions=True
    )
    return [
        f"{picture} failed: {result.message}"
        if isinstance(result, perdure.ActivityFailed)
        else str(result)
        for picture, result in zip(pictures, results, strict=True)
    ]


@app.orchestration
async def two_at_once_what_works(
    ctx: perdure.OrchestrationContext, pictures: list[str]
) -> list[str]:
    free = asyncio.Semaphore(2)

    async def make(picture: str) -> str:
        async with free:
            try:
                return await ctx.schedule_activity(thumbnail, picture)
            except perdure.ActivityFailed as error:
                return f"{picture} failed: {error.message}"

    return await asyncio.gather(*(make(picture) for picture in pictures))


@app.orchestration
async def first_of_two(ctx: perdure.OrchestrationContext, mirrors: list[str]) -> str:
    work = [ctx.schedule_activity(thumbnail, mirror) for mirror in mirrors]
    done, pending = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
    for loser in pending:
        loser.cancel()
    return sorted(each.result() for each in done)[0]


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        good, mixed = ["a.png", "b.png", "c.png"], ["a.png", "b.txt"]
        for number, orchestration in enumerate((all_at_once, two_at_once)):
            handle = await client.start_orchestration(f"good-{number}", orchestration, good)
            assert await handle.result(10) == ["a.thumb.png", "b.thumb.png", "c.thumb.png"]
        for number, orchestration in enumerate((what_works, two_at_once_what_works)):
            handle = await client.start_orchestration(f"mixed-{number}", orchestration, mixed)
            assert await handle.result(10) == ["a.thumb.png", "b.txt failed: b.txt is no picture"]
        first = await client.start_orchestration("first-1", first_of_two, good)
        assert (await first.result(10)).endswith(".thumb.png")


asyncio.run(main())
