"""A worker process: it runs orders until it is asked to stop, and tells its supervisor how it is."""

from __future__ import annotations

import asyncio
import logging
import os
from datetime import timedelta

import perdure

from orders import app
from probes import answer_probes
from service import Service

STORAGE = os.environ.get("STORAGE", "sqlite:///orders.db")
SHUTDOWN_GRACE = timedelta(seconds=float(os.environ.get("SHUTDOWN_GRACE", "10")))
PROBE_PORT = int(os.environ.get("PROBE_PORT", "8080"))


async def work() -> None:
    options = perdure.RuntimeOptions(shutdown_grace=SHUTDOWN_GRACE)
    service = Service.from_environment()
    async with perdure.open_provider(STORAGE) as provider:
        runtime = perdure.Runtime(provider, app, options=options)
        # The runtime comes last, so that the others go on while its activities finish.
        async with answer_probes(runtime, PROBE_PORT), service.watched(), runtime:
            service.tell("READY=1")
            await runtime.run_until_stopped()  # SIGTERM, or Ctrl-C
            service.tell("STOPPING=1")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    asyncio.run(work())
