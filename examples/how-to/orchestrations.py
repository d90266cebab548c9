"""What an orchestration may use: the context's clock, randomness and ids, and all of asyncio."""

import asyncio
import time

import perdure
from perdure.errors import NondeterministicCode

app = perdure.Registry()


@app.activity
async def fetch(page: int) -> str:
    return f"page {page}"


@app.orchestration
async def raffle(ctx: perdure.OrchestrationContext, tickets: list[str]) -> str:
    winner = ctx.random().choice(tickets)
    ctx.logger.info("drawn at %s: %s", ctx.now(), winner)
    return f"{winner} (draw {ctx.uuid4()})"


@app.orchestration
async def crawl(ctx: perdure.OrchestrationContext, pages: int) -> list[str]:
    found: list[str] = []
    two_at_once = asyncio.Semaphore(2)

    async def visit(page: int) -> None:
        async with two_at_once:
            found.append(await ctx.schedule_activity(fetch, page))

    async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
        for page in range(pages):
            group.create_task(visit(page))
    return sorted(found)


async def measured(ctx: perdure.OrchestrationContext) -> None:
    began = time.perf_counter()
    ctx.logger.debug("took %s s", time.perf_counter() - began)


try:
    app.orchestration(measured)
except NondeterministicCode as error:
    print(error)

app.orchestration(allow=["time.perf_counter"])(measured)


async def answer(question: str) -> str:  # of a library
    ctx = perdure.orchestration_context()
    if ctx is None:
        return await ask_the_model(question)
    return await ctx.schedule_activity(ask_the_model, question)


@app.activity
async def ask_the_model(question: str) -> str:
    return f"an answer to {question}"


@app.orchestration
async def agent(ctx: perdure.OrchestrationContext, question: str) -> str:
    return await answer(question)


async def main() -> None:
    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        client = perdure.Client(provider)
        drawn = await client.start_orchestration("raffle-1", raffle, ["a", "b"])
        assert (await drawn.result(timeout=10))[0] in "ab"
        crawled = await client.start_orchestration("crawl-1", crawl, 3)
        assert await crawled.result(timeout=10) == ["page 0", "page 1", "page 2"]
        asked = await client.start_orchestration("agent-1", agent, "why?")
        assert await asked.result(timeout=10) == await answer("why?")


asyncio.run(main())
