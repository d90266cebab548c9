"""Progress: steps noted in a table of your own, and steps counted in the history."""

import asyncio
import sqlite3

import perdure
from perdure import history

app = perdure.Registry()
table = sqlite3.connect(":memory:", check_same_thread=False)
table.execute("CREATE TABLE progress (instance TEXT PRIMARY KEY, done INTEGER, total INTEGER)")


@app.activity
async def convert(page: int) -> int:
    return page


@app.activity
async def note_progress(done: int, total: int) -> None:
    instance = perdure.activity_context().instance
    table.execute("REPLACE INTO progress VALUES (?, ?, ?)", (instance, done, total))


@app.orchestration
async def convert_book(ctx: perdure.OrchestrationContext, pages: int) -> int:
    for page in range(pages):
        await ctx.schedule_activity(convert, page)
        await ctx.activity(note_progress)(page + 1, total=pages)
    return pages


async def converted(client: perdure.Client, instance: str) -> int:
    """How many pages are done, from the history alone."""
    events = await client.read_execution_history(instance, 1)
    pages = {
        event.event_id
        for event in events
        if isinstance(event, history.ActivityScheduled) and event.name == "convert"
    }
    return sum(
        isinstance(event, history.ActivityCompleted) and event.scheduled in pages
        for event in events
    )


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        handle = await client.start_orchestration("book-1", convert_book, 3)
        assert await handle.result(timeout=10) == 3
        assert table.execute("SELECT * FROM progress").fetchall() == [("book-1", 3, 3)]
        assert await converted(client, "book-1") == 3
    table.close()


asyncio.run(main())
