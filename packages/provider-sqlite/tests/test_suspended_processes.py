"""Processes that are suspended past their leases and go on: all work ends, nothing is blamed.

Run as a program, this file is one worker.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import perdure
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals that suspend are POSIX"),
]

LEASE = 0.5
SUSPENDED = 2 * LEASE
BETWEEN = 0.3

app = perdure.Registry()


@app.activity
async def step(x: int) -> int:
    await asyncio.sleep(0.05)
    return x


@app.activity
async def longer_than_between_suspensions(x: int) -> int:
    await asyncio.sleep(4 * BETWEEN)
    return x


@app.orchestration
async def work_until_told(ctx: perdure.OrchestrationContext, x: int) -> int:
    """Never idle, so that each suspension hits work under way."""
    enough = ctx.schedule_wait("enough")
    while not enough.done():
        x = await ctx.schedule_activity(step, x)
    return await ctx.schedule_activity(longer_than_between_suspensions, x)


@contextmanager
def workers(url: str, count: int, said: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes that run the app, ended one by one in the end; `said` gets their log."""
    started: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            process = subprocess.Popen(
                [sys.executable, __file__, url],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            started.append(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "works\n"
        yield started
    finally:
        for process in started:
            process.kill()
            said.append(process.communicate()[1])


@pytest.mark.parametrize("count", [1, 2])
async def test_suspended_workers_end_all_work_and_blame_none(tmp_path, count) -> None:
    url = f"sqlite:///{tmp_path / 'suspended.db'}"
    said: list[str] = []
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        with workers(url, count, said) as processes:
            handles = [
                await client.start_orchestration(f"i-{n}", work_until_told, n) for n in range(10)
            ]
            for number in range(4):
                await asyncio.sleep(BETWEEN)
                processes[number % count].send_signal(signal.SIGSTOP)
                await asyncio.sleep(SUSPENDED)
                processes[number % count].send_signal(signal.SIGCONT)
            for n in range(10):
                await client.raise_event(f"i-{n}", "enough")
            statuses = [await handle.wait(timeout=60) for handle in handles]

    assert statuses == [perdure.Completed(output=str(n)) for n in range(10)]
    assert re.search(r"the process stood still for [1-9]", "".join(said)), said


async def work(url: str) -> None:
    """Run the app until the process is killed."""
    options = perdure.RuntimeOptions(
        max_attempts=2,
        turn_lease=timedelta(seconds=LEASE),
        activity_lease=timedelta(seconds=LEASE),
        poll_interval=timedelta(milliseconds=100),
    )
    async with (
        perdure.open_provider(url) as provider,
        perdure.Runtime(provider, app, options=options),
    ):
        print("works", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
