"""A worker process: it runs what is registered until it is asked to stop."""

import asyncio
import logging
import os
from pathlib import Path

import perdure

app = perdure.Registry()
STORAGE = os.environ.get("STORAGE", "sqlite:///worker.db")
ALIVE = Path(os.environ.get("ALIVE_FILE", "alive"))


@app.orchestration
async def hello(ctx: perdure.OrchestrationContext, name: str) -> str:
    return f"hello, {name}"


async def work() -> None:
    async with perdure.open_provider(STORAGE) as provider:
        async with perdure.Runtime(provider, app) as runtime:
            alive = asyncio.create_task(show_that_it_lives())
            await runtime.run_until_stopped()  # SIGTERM, or Ctrl-C
            alive.cancel()


async def show_that_it_lives() -> None:
    """For a liveness probe: a blocked event loop does not touch the file."""
    while True:
        ALIVE.touch()
        await asyncio.sleep(5)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(work())
