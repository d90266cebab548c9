"""A worker process: it runs what is registered until it is asked to stop."""

import asyncio
import logging
import os
import signal
from pathlib import Path

import perdure

app = perdure.Registry()
STORAGE = os.environ.get("STORAGE", "sqlite:///worker.db")
ALIVE = Path(os.environ.get("ALIVE_FILE", "alive"))


@app.orchestration
async def hello(ctx: perdure.OrchestrationContext, name: str) -> str:
    return f"hello, {name}"


async def work() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with perdure.open_provider(STORAGE) as provider, perdure.Runtime(provider, app):
        while not stop.is_set():
            ALIVE.touch()  # a blocked event loop does not come here
            try:
                await asyncio.wait_for(stop.wait(), timeout=5)
            except TimeoutError:
                pass


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(work())
