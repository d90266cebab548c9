"""Workers for test_killed_workers: `python killed_worker.py URL EFFECTS` forks one for each line that it reads.

Each import would cost more than what a worker does until it is killed. A worker's process id is
printed when it begins.
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta

import perdure
import psycopg
from perdure_postgres import PostgresProvider

STEPS = 3
LEASE = timedelta(seconds=1)
ADD = """
INSERT INTO effects VALUES (%s, 1) ON CONFLICT (key) DO UPDATE SET made = effects.made + 1
"""

app = perdure.Registry()


class Effects:
    """The table of effects, on a server that crashes from time to time."""

    def __init__(self, conninfo):
        self._conninfo = conninfo
        self._connection = None

    async def add(self, key):
        while True:
            try:
                connection = await self._connected()
                await connection.execute(ADD, (key,))
            except psycopg.OperationalError:
                await asyncio.sleep(0.02)
            else:
                return

    async def _connected(self):
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(
                self._conninfo, autocommit=True
            )
        return self._connection


@app.activity
async def add_effect(number: int) -> int:
    """Writes the activity's key down, as a payment or a mail would be made under it."""
    context = perdure.activity_context(Effects)
    await context.resources.add(context.idempotency_key)
    # A kill may come between the effect and its record.
    await asyncio.sleep(0.02)
    return number


@app.orchestration
async def add_effects(ctx: perdure.OrchestrationContext) -> list[int]:
    """A few effects, one after the other."""
    return [await ctx.schedule_activity(add_effect, number) for number in range(STEPS)]


async def work(url, effects):
    # A killed worker says nothing about its work, so it must not be suspected.
    options = perdure.RuntimeOptions(turn_lease=LEASE, activity_lease=LEASE, max_attempts=10**6)
    async with (
        perdure.open_provider(url) as provider,
        perdure.Runtime(provider, app, options=options, resources=Effects(effects)),
    ):
        await asyncio.Event().wait()


def main(url, effects):
    # Children that were killed are forgotten by themselves.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    assert PostgresProvider  # imported before the first fork
    for _ in sys.stdin:
        if (child := os.fork()) == 0:
            sys.stdin.close()
            asyncio.run(work(url, effects))
        print(child, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
