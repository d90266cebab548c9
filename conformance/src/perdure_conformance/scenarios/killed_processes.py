"""Real processes on one storage: side by side, and killed at any moment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta

from perdure import Client
from perdure.clock import SystemClock
from perdure.contract import PERSISTENT, SHARED
from perdure.history import ActivityCompleted
from perdure.model.details import Poisoned
from perdure.model.status import Failed

from perdure_conformance.backend import with_namespace
from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.crashes.job import Job, Progress, take_in
from perdure_conformance.crashes.process import Process
from perdure_conformance.crashes.rounds import (
    CrashRounds,
    expect_well_formed,
    read_events,
    serve_until_ended,
)
from perdure_conformance.expect import ClauseBroken, expect, expect_equal

SEED = 33


def address(bench: Bench) -> str:
    """The URL under which other processes find the bench's namespace."""
    if bench.backend.url is None:
        raise ClauseBroken("the backend has no URL under which another process finds the storage")
    return with_namespace(bench.backend.url, bench.namespace)


async def client_in_real_time(bench: Bench) -> Client:
    """A client on the clock of the processes."""
    return Client(await bench.open(clock=SystemClock()))


@check("SCENARIO-19a", needs=PERSISTENT)
async def a_killed_process_leaves_its_activity(bench: Bench) -> None:
    """An activity whose process is killed with SIGKILL is delivered to the next process, counted, and one result is recorded."""
    client = await client_in_real_time(bench)
    await client.start_orchestration_typed("alpha", "fragile", 1)
    deaths = await serve_until_ended(Job(url=address(bench)), ["alpha"], SystemClock())
    expect_equal(deaths, 1, "processes that died")
    output = await client.wait_for_orchestration_typed("alpha", int, 0)
    expect_equal(output, 2, "the delivery that counted")
    await expect_one_result(bench, "alpha")


@check("SCENARIO-21c", needs=PERSISTENT)
async def what_kills_processes_is_found_out(bench: Bench) -> None:
    """An instance whose turn kills its process with SIGKILL every time fails with kind poison once it did so in isolation."""
    client = await client_in_real_time(bench)
    await client.start_orchestration("alpha", "deadly_turn")
    job = Job(url=address(bench), max_attempts=2)
    deaths = await serve_until_ended(job, ["alpha"], SystemClock())
    expect_equal(deaths, 3, "processes that died")
    status = await client.get_orchestration_status("alpha")
    kind = status.details.kind if isinstance(status, Failed) else None
    expect(isinstance(kind, Poisoned), f"the end of the deadly turn: {status}")


@check("SCENARIO-32", needs=SHARED)
async def processes_share_a_storage(bench: Bench) -> None:
    """Several processes on one storage run every instance to its end; no turn and no event is lost or doubled, and contention never surfaces as an error."""
    progress = {f"instance-{number}": Progress() for number in range(12)}
    names, numbers = list(progress), 6
    # No process is killed here, so leases need not be short.
    lease = timedelta(seconds=30)
    jobs = [
        Job(url=address(bench), drive=dict.fromkeys(names[place::3]), last=numbers - 1, lease=lease)
        for place in range(3)
    ]
    processes = [await Process.begin(job, lambda line: take_in(line, progress)) for job in jobs]
    errors = await asyncio.gather(*(process.end() for process in processes))
    expect_equal("".join(errors), "", "errors that were written")
    await expect_outputs(bench, progress, list(range(numbers)))


@check("SCENARIO-33", needs=PERSISTENT)
async def acknowledged_calls_outlive_kills(bench: Bench) -> None:
    """After processes were killed with SIGKILL at random moments, every call that was acknowledged is there, every instance goes on to the right result, and every history is well formed."""
    shared = SHARED in bench.backend.declaration.capabilities
    killing = CrashRounds(url=address(bench), instances=10, shared=shared, seed=SEED)
    await killing.run(kills=3)


async def expect_outputs(
    bench: Bench, progress: dict[str, Progress], numbers: Sequence[int]
) -> None:
    """Complain unless every instance took these numbers, and its history is well formed."""
    for instance, told in progress.items():
        output: object = None if told.output is None else json.loads(told.output)
        expect_equal(output, list(numbers), f"output of {instance!r}")
        await expect_well_formed(bench.provider, instance)


async def expect_one_result(bench: Bench, instance: str) -> None:
    """Complain unless the history has one result of an activity."""
    events = await read_events(bench.provider, await bench.state(instance), 1)
    completed = [event for event in events if isinstance(event, ActivityCompleted)]
    expect_equal(len(completed), 1, "results recorded")
