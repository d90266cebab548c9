"""Progress: a custom status says how far an instance is, and values are what it has found so far."""

import asyncio
from dataclasses import dataclass

import perdure

app = perdure.Registry()


@dataclass
class Progress:
    done: int
    total: int


@app.activity
async def convert(page: int) -> str:
    return f"page-{page}.pdf"


@app.orchestration
async def convert_book(ctx: perdure.OrchestrationContext, pages: int) -> str:
    for page in range(1, pages + 1):
        file = await ctx.schedule_activity(convert, page)
        ctx.set_value(f"page {page}", file)
        ctx.set_status(Progress(done=page, total=pages))
    return f"{len(ctx.values())} files"


async def follow(client: perdure.Client, instance: str) -> list[str]:
    """Every status that is still there when this looks, until the instance ends."""
    shown: list[str] = []
    seen = 0
    while True:
        status = await client.wait_for_status_change(instance, seen, timeout=30)
        if status.custom_status_version > seen:
            seen = status.custom_status_version
            shown.append(status.custom_status or "")
        if not isinstance(status, perdure.Running):
            return shown


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        await client.start_orchestration("book-1", convert_book, 3)
        first = await client.wait_for_value("book-1", "page 1", str, timeout=10)
        assert first == "page-1.pdf"
        assert (await follow(client, "book-1"))[-1] == '{"done":3,"total":3}'
        assert await client.wait_for_orchestration_typed("book-1", str, 10) == "3 files"
        assert await client.get_value("book-1", "page 3", str) == "page-3.pdf"


asyncio.run(main())
