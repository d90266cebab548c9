"""Kills processes at random moments, again and again, and looks at what is left.

In every round one or two processes serve a storage and drive instances until they are killed;
what they acknowledged is noted. The last round lets every instance end. Then each output must be
exactly the numbers that were raised, in order, and every history must be well formed and be
replayed by the code that wrote it.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from perdure import SystemClock, open_provider
from perdure.authoring.catalog import Catalog
from perdure.clock import Clock
from perdure.contract import InstanceState, Provider
from perdure.history import Event, decode_event

from perdure_conformance.crashes.job import Job, Progress, take_in
from perdure_conformance.crashes.process import Process
from perdure_conformance.crashes.workload import app
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.inspection import inspect_instance

LONGEST_RUN = 0.6
"""Real seconds after which a serving process is killed at the latest."""
LONGEST_START = 0.5
"""Real seconds after its start, for a process that is killed before it serves."""
PACE = 0.4
"""Real seconds between two numbers of one instance, so that processes keep up."""
_LOOK = timedelta(milliseconds=50)


@dataclass(slots=True, kw_only=True)
class CrashRounds:
    """A storage, the instances on it, and what was acknowledged of them."""

    url: str
    """With the namespace."""
    instances: int
    shared: bool
    """Whether two processes may share the storage."""
    seed: int
    progress: dict[str, Progress] = field(default_factory=dict[str, Progress])
    errors: list[str] = field(default_factory=list[str])
    """What processes wrote to their error streams."""
    kills: int = 0

    async def run(self, kills: int) -> None:
        """Run rounds until this many processes were killed, then the last one; complain about losses."""
        randomness = random.Random(self.seed)  # noqa: S311 # repeatable, not secret
        self.progress = {f"instance-{number}": Progress() for number in range(self.instances)}
        rounds = 0
        while self.kills < kills:
            await self._round(randomness, 2 if self.shared and rounds % 2 else 1)
            rounds += 1
        await self._finish()
        await self._inspect()

    async def _round(self, randomness: random.Random, count: int) -> None:
        processes = [
            await Process.begin(self._job(share, None), self._hear) for share in self._shares(count)
        ]
        self.errors += await asyncio.gather(*(self._kill(randomness, each) for each in processes))
        self.kills += count

    async def _kill(self, randomness: random.Random, process: Process) -> str:
        while_starting = randomness.random() < 0.2
        moment = randomness.uniform(0, LONGEST_START if while_starting else LONGEST_RUN)
        if not while_starting:
            await process.be_ready()
        await asyncio.sleep(moment)
        return await process.kill()

    async def _finish(self) -> None:
        """Let every instance end, in processes that are not killed."""
        last = max(each.next for each in self.progress.values())
        processes = [
            await Process.begin(self._job(share, last), self._hear)
            for share in self._shares(2 if self.shared else 1)
        ]
        self.errors += [await process.end() for process in processes]
        for instance, progress in self.progress.items():
            output: object = None if progress.output is None else json.loads(progress.output)
            expect_equal(output, list(range(last + 1)), f"seed {self.seed}: output of {instance}")
        written = [text for text in self.errors if text]
        expect_equal(written, [], f"seed {self.seed}: errors written by processes")

    def _shares(self, count: int) -> list[list[str]]:
        names = list(self.progress)
        return [names[place::count] for place in range(count)]

    def _job(self, share: Sequence[str], last: int | None) -> Job:
        drive = {name: self.progress[name].resume for name in share}
        return Job(
            url=self.url,
            drive=drive,
            last=last,
            pace=PACE if last is None else 0.0,
            # The kills are random, so work that was running at them must not be suspected.
            max_attempts=1_000_000,
        )

    def _hear(self, line: str) -> None:
        take_in(line, self.progress)

    async def _inspect(self) -> None:
        async with open_provider(self.url, clock=SystemClock()) as provider:
            for instance in self.progress:
                await expect_well_formed(provider, instance)


async def expect_well_formed(provider: Provider, instance: str) -> None:
    """Complain unless all histories of an instance are well formed, and those of its children."""
    state = await provider.read_instance(instance)
    expect(state is not None, f"instance {instance!r} is gone")
    if state is None:
        return
    for execution in range(1, state.execution + 1):
        events = await read_events(provider, state, execution)
        faults = inspect_instance(state, execution, events, [Catalog([app])])
        expect_equal(faults, [], f"faults in execution {execution} of {instance!r}")


async def read_events(provider: Provider, state: InstanceState, execution: int) -> list[Event]:
    """The history of an execution."""
    events: list[Event] = []
    more = True
    while more:
        page = await provider.read_history(
            state.instance,
            execution,
            incarnation=state.incarnation,
            after=len(events),
        )
        events += [decode_event(event.number, event.data) for event in page.events]
        more = page.more
    return events


async def serve_until_ended(job: Job, instances: Sequence[str], clock: Clock) -> int:
    """Start a new process whenever one has died, until the instances have ended; returns the deaths."""
    deaths = 0
    process = await Process.begin(job, lambda line: None)
    async with open_provider(job.url, clock=clock) as provider:
        try:
            while not await have_ended(provider, instances):
                if process.over:
                    deaths += 1
                    await process.end()
                    process = await Process.begin(job, lambda line: None)
                await clock.sleep(_LOOK)
        finally:
            await process.kill()
    return deaths


async def have_ended(provider: Provider, instances: Sequence[str]) -> bool:
    """Whether all these instances have an output."""
    states = [await provider.read_instance(instance) for instance in instances]
    return all(state is not None and state.output is not None for state in states)
