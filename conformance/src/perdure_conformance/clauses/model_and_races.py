"""MODEL and RACE: random calls, also overlapping ones, and workers that race."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random

from perdure.contract import InstanceStatus, TurnRequest

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.durability import expect_history
from perdure_conformance.clauses.scenes import mailbox_of
from perdure_conformance.comparison.state_machine import SEED, compare_with_model
from perdure_conformance.expect import ClauseBroken, expect_equal
from perdure_conformance.samples import SECOND
from perdure_conformance.workers import CHILD, SERVES, STEPS, Worker, begin

ROUNDS = 1000
WORKERS = 6


@check("MODEL-1")
async def it_does_what_the_model_does(bench: Bench) -> None:
    """After any calls in any order, overlapping ones included, the provider answers as a simple model of the contract."""
    examples = await compare_with_model(bench.backend)
    bench.notes.append(f"{examples} examples were compared, of the seed {SEED}")


@check("RACE-1")
async def racing_workers_end_every_instance(bench: Bench) -> None:
    """Workers that race, stop in the middle, repeat calls and make calls too late bring every instance to its end, with each thing recorded once."""
    await race(bench)


async def race(bench: Bench, *, seed: int = 0) -> None:
    """Let six workers race; with another seed other calls meet with other mishaps."""
    names = [f"i-{n:02}" for n in range(20)]
    everything = [name + tail for name in names for tail in ("", CHILD)]
    objects = [bench.provider, await bench.open(), await bench.open()]
    workers = [
        Worker(
            objects[n % 3],
            f"w-{n}",
            Random(seed * WORKERS + n),  # noqa: S311 # no secret
            mishaps=0.2,
            lease_for=SECOND,
        )
        for n in range(WORKERS)
    ]
    await bench.all_well(begin(objects[n % 3], name) for n, name in enumerate(names))
    for _ in range(ROUNDS):
        busy = await asyncio.gather(*(worker.round() for worker in workers))
        if not any(busy) and await all_ended(bench, names):
            break
        bench.advance(SECOND / 5)
    for name in everything:
        state = await bench.state(name)
        if state.status is not InstanceStatus.COMPLETED:
            look = TurnRequest(token="probe", limit=1000, lease_for=SECOND, serves=SERVES)
            held = await mailbox_of(bench, name, look)
            raise ClauseBroken(f"{name} did not end: {state}; {held}")
        await expect_history(bench, name)
    accepted = Counter(each for worker in workers for each in worker.accepted)
    wanted = {(name, str(step)) for name in everything for step in range(STEPS)}
    expect_equal(set(accepted), wanted, "activities whose result was accepted")


async def all_ended(bench: Bench, names: list[str]) -> bool:
    """Whether every instance has ended."""
    states = [await bench.state(name) for name in names]
    return all(state.status is not InstanceStatus.RUNNING for state in states)
