"""External events: what a wait takes, what it leaves, and data that does not fit."""

import asyncio

import perdure

app = perdure.Registry()


@app.orchestration
async def collect(ctx: perdure.OrchestrationContext) -> dict[str, str]:
    waits = {name: ctx.schedule_wait(name, str) for name in ("left", "right")}
    done, pending = await asyncio.wait(waits.values(), timeout=0.05)
    for wait in pending:
        wait.cancel()
    return {name: wait.result() for name, wait in waits.items() if wait in done}


@app.orchestration
async def read_note(ctx: perdure.OrchestrationContext) -> str:
    try:
        return await ctx.schedule_wait("note", str, on_invalid="raise")
    except perdure.InvalidPayload:
        return "the note is no text"


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        await client.raise_event("collect-1", "left", '"here"')  # before the start: kept
        collected = await client.start_orchestration("collect-1", collect)
        assert await collected.result(timeout=10) == {"left": "here"}

        note = await client.start_orchestration("note-1", read_note)
        await note.raise_event("note", "17")
        assert await note.result(timeout=10) == "the note is no text"


asyncio.run(main())
