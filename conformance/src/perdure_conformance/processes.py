"""The programs that checks run in other processes, and how checks start and kill them.

A process opens the storage by its URL, with the system clock, and prints a line for each
acknowledged call. The check ends it by killing it.
"""

from __future__ import annotations

import asyncio
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from perdure.clock import SystemClock
from perdure.contract import ActivityRequest, NewChild, Provider, TurnCommit, TurnRequest
from perdure.providers.loader import open_provider

from perdure_conformance.backend import with_namespace
from perdure_conformance.samples import (
    COMPLETED,
    LEASE,
    SERVES,
    WORK,
    commit_of,
    event,
    new_instance,
    work,
)
from perdure_conformance.workers import Worker

ACKNOWLEDGED = "acknowledged"
ACCEPTED = "accepted"


@asynccontextmanager
async def process(task: str, url: str, namespace: str, name: str) -> AsyncGenerator[Process]:
    """A process that runs a task; it is killed at the end of the block."""
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "perdure_conformance.processes",
        task,
        url,
        namespace,
        name,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def write_on(provider: Provider, name: str) -> None:
    """Create instances, send and commit, one after the other, until killed."""
    number = 0
    while True:
        number += 1
        instance = f"i-{number:05}"
        await provider.create_instance(new_instance(instance))
        say(ACKNOWLEDGED, "create", instance)
        await provider.send([event("one", instance), event("two", instance)])
        say(ACKNOWLEDGED, "send", instance)
        request = TurnRequest(token=instance, limit=1, lease_for=LEASE, serves=SERVES)
        turns = {turn.state.instance: turn for turn in await provider.lease_turns(request)}
        state = turns[instance].state
        await provider.commit_turn(
            TurnCommit(
                id=f"{instance}-1",
                instance=instance,
                incarnation=state.incarnation,
                token=instance,
                execution=1,
                expected_event=0,
                events=(b"1", b"2"),
                remove=("start", "one"),
                add=(work(f"{instance}-job"),),
                send=(event("sent", f"{instance}-ghost"),),
                create=(NewChild(instance=new_instance(f"{instance}-child", name="child")),),
                keep_for=LEASE,
            )
        )
        say(ACKNOWLEDGED, "commit", instance)
        if number % 2:
            await provider.lease_activities(
                ActivityRequest(token=instance, limit=1, lease_for=LEASE, names=WORK)
            )


async def run_on(provider: Provider, name: str) -> None:
    """Run all available work, until killed."""
    worker = Worker(provider, name, random.Random(name), mishaps=0.0)  # noqa: S311 # no secret
    while True:
        busy = await worker.round()
        for instance, activity in worker.accepted:
            say(ACCEPTED, instance, activity)
        worker.accepted.clear()
        if not busy:
            await asyncio.sleep(0.005)


async def tell_on(provider: Provider, name: str) -> None:
    """Create an instance, and then commit and end it, each time when told to by a line."""
    turns: dict[str, TurnCommit] = {}

    async def create() -> None:
        await provider.create_instance(new_instance(name))

    async def commit() -> None:
        request = TurnRequest(token=name, limit=1, lease_for=LEASE, serves=SERVES)
        (turn,) = await provider.lease_turns(request)
        turns["first"] = commit_of(turn, id="first", add=(work("job"),), keep_for=LEASE)
        await provider.commit_turn(turns["first"])

    async def end() -> None:
        last = replace(turns["first"], id="last", add=(), keep_for=None, end=COMPLETED)
        await provider.commit_turn(last)

    for call in (create, commit, end):
        say(ACKNOWLEDGED, call.__name__)
        await asyncio.to_thread(sys.stdin.readline)
        await call()
    say(ACKNOWLEDGED, "over")


def say(*words: str) -> None:
    """Print a line that arrives even if the process is killed right after."""
    print(*words, flush=True)


async def main(task: str, url: str, namespace: str, name: str) -> None:
    """Open the storage and run the task."""
    async with open_provider(with_namespace(url, namespace), clock=SystemClock()) as provider:
        await {"write": write_on, "run": run_on, "tell": tell_on}[task](provider, name)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
