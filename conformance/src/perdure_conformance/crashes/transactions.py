"""Kills a process again and again while its activities write in the transactions of their results.

`python -m perdure_conformance.crashes.transactions URL INSERT KILLS SEED` forks one process after
the other. Each starts a few instances, works on what is there, and kills itself at a random moment:
in an activity after it has written, or soon after, so that some die in a commit. One more process
lets every instance end, and prints the keys that must have been written once each. `INSERT` is the
application's statement, with the key as its only parameter.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

import perdure
from perdure import Client, OrchestrationContext, Registry, RuntimeOptions

STEPS = 3
STARTS = 2
"""Instances that each process starts, so that it has work before it looks at what others left."""
LATEST = 0.05
"""Real seconds after the first write of a process at which it is dead."""
PATIENCE = 30.0
OPTIONS = RuntimeOptions(
    turn_lease=timedelta(seconds=0.5),
    activity_lease=timedelta(seconds=0.5),
    # The kills are random, so work that was running at them must not be suspected.
    max_attempts=1_000_000,
)

app = Registry()


@dataclass(slots=True)
class Surroundings:
    """What an activity writes with, and when its process dies."""

    insert: str
    moment: float | None
    """Seconds after the first write; 0 is in the activity itself, None is never."""


@app.activity(transactional=True)
def write(key: str) -> str:
    """Write the key, in the transaction of the result."""
    context = perdure.activity_context(Surroundings)
    context.connection.execute(context.resources.insert, (key,))
    if (moment := context.resources.moment) is not None:
        threading.Thread(target=_die, args=(moment,), daemon=True).start()
        if not moment:
            time.sleep(PATIENCE)
    return key


@app.orchestration
async def flow(ctx: OrchestrationContext) -> int:
    """A few writes, one after the other."""
    for step in range(STEPS):
        await ctx.schedule_activity(write, key_of(ctx.instance, step))
    return STEPS


def key_of(instance: str, step: int) -> str:
    """The key that a step of an instance writes."""
    return f"{instance}/{step}"


def _die(moment: float) -> None:
    time.sleep(moment)
    os.kill(os.getpid(), signal.SIGKILL)


async def run_killed(url: str, insert: str, *, kills: int, seed: int) -> list[str]:
    """Let the program run to its end; returns the keys that must be there, sorted."""
    words = [url, insert, str(kills), str(seed)]
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, *words, stdout=asyncio.subprocess.PIPE
    )
    try:
        told, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
    if child.returncode:
        raise RuntimeError(f"seed {seed}: the program ended with {child.returncode}")
    return json.loads(told)


async def _prepare(url: str) -> None:
    """Import the provider and create its tables, which each process would do else."""
    async with perdure.open_provider(url):
        pass


async def _serve(url: str, surroundings: Surroundings, starts: list[str]) -> None:
    """Start instances, and work until the process is killed."""
    async with perdure.open_provider(url) as provider:
        client = Client(provider)
        for instance in starts:
            await client.start_orchestration(instance, flow)
        async with perdure.Runtime(provider, app, options=OPTIONS, resources=surroundings):
            await asyncio.sleep(PATIENCE)


async def _finish(url: str, insert: str) -> None:
    """Let every instance end, and print what was written."""
    async with perdure.open_provider(url) as provider:
        client = Client(provider)
        page = await client.list_all_instances()
        instances = list(page)
        while page.next_token is not None:
            page = await client.list_all_instances(token=page.next_token)
            instances += page
        resources = Surroundings(insert=insert, moment=None)
        async with perdure.Runtime(provider, app, options=OPTIONS, resources=resources):
            for instance in instances:
                await client.wait_for_orchestration_typed(instance, int, PATIENCE)
    print(json.dumps(sorted(key_of(each, step) for each in instances for step in range(STEPS))))


def main(url: str, insert: str, kills: int, seed: int) -> None:
    """See the module."""
    randomness = random.Random(seed)  # noqa: S311 # repeatable, not secret
    asyncio.run(_prepare(url))
    for number in range(kills):
        moment = 0.0 if number % 2 else randomness.uniform(0.001, LATEST)
        child = os.fork()
        if child == 0:
            surroundings = Surroundings(insert=insert, moment=moment)
            asyncio.run(_serve(url, surroundings, [f"{number}-{each}" for each in range(STARTS)]))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(f"process {number} was not killed, and ended with {status}")
    asyncio.run(_finish(url, insert))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
