"""A process that serves a storage and drives instances, and a handle on one.

`python -m perdure_conformance.crashes.process JOB` runs until its job is done, or for ever. It
logs errors only, so everything on its error stream is an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import sys
from collections.abc import Callable
from typing import Self

from perdure import (
    Client,
    Completed,
    InstanceAlreadyExists,
    Runtime,
    RuntimeOptions,
    SystemClock,
    open_provider,
)

from perdure_conformance.crashes.job import ENDED, JOB, RAISED, READY, STARTED, Job
from perdure_conformance.crashes.workload import END, app, collect

PATIENCE = 60.0
"""Real seconds within which a process is expected to do what it was asked for."""


async def serve(job: Job) -> None:
    """Do a job."""
    options = RuntimeOptions(
        turn_lease=job.lease, activity_lease=job.lease, max_attempts=job.max_attempts
    )
    async with (
        open_provider(job.url, clock=SystemClock()) as provider,
        Runtime(provider, app, options=options),
    ):
        report(READY)
        client = Client(provider)
        await asyncio.gather(*(drive(client, job, name, at) for name, at in job.drive.items()))
        if not job.drive:
            await asyncio.Event().wait()


async def drive(client: Client, job: Job, instance: str, number: int | None) -> None:
    """Start an instance, and raise its numbers one after the other."""
    if number is None:
        number = 0
        # It exists where a process started it that was killed before it reported it.
        with contextlib.suppress(InstanceAlreadyExists):
            await client.start_orchestration(instance, collect, list[int]())
        report(STARTED, instance)
    # So that not all of them do everything at once.
    await asyncio.sleep(job.pace * random.random())  # noqa: S311 # no secret
    while job.last is None or number <= job.last:
        await client.raise_event(instance, "number", str(number), event_id=str(number))
        report(RAISED, instance, number)
        number += 1
        await asyncio.sleep(job.pace)
    await client.raise_event(instance, "number", str(END), event_id="end")
    status = await client.wait_for_orchestration(instance, PATIENCE)
    ended = status.output if isinstance(status, Completed) else json.dumps(repr(status))
    report(ENDED, instance, ended)


def report(*words: object) -> None:
    """Write a line that the parent reads; it is there even if the process is killed next."""
    print(*words, flush=True)


class Process:
    """A running process, as its parent sees it."""

    def __init__(self, child: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
        self._child = child
        self._on_line = on_line
        self._ready = asyncio.Event()
        self._reading = asyncio.ensure_future(self._read())
        self._errors = asyncio.ensure_future(self._read_errors())

    @classmethod
    async def begin(cls, job: Job, on_line: Callable[[str], None]) -> Self:
        """Start a process; `on_line` is given each line that it writes."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "perdure_conformance.crashes.process",
            JOB.dump_json(job).decode(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        return cls(child, on_line)

    @property
    def over(self) -> bool:
        """Whether it has ended, by itself or not."""
        return self._child.returncode is not None

    async def be_ready(self) -> None:
        """Return when it serves, or has ended."""
        ready = asyncio.ensure_future(self._ready.wait())
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait((ready, self._reading), return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()

    async def kill(self) -> str:
        """Kill it, as `kill -9` does; returns what it wrote to its error stream."""
        if not self.over:
            self._child.kill()
        return await self.end()

    async def end(self) -> str:
        """Wait until it ends by itself; returns what it wrote to its error stream."""
        async with asyncio.timeout(PATIENCE):
            await self._reading
            errors = await self._errors
            await self._child.wait()
        return errors

    async def _read(self) -> None:
        stream = self._child.stdout
        while stream is not None and (line := await stream.readline()):
            # What was cut off by the kill was not acknowledged.
            if line.endswith(b"\n"):
                text = line.decode().rstrip("\n")
                self._on_line(text)
                if text == READY:
                    self._ready.set()

    async def _read_errors(self) -> str:
        stream = self._child.stderr
        return "" if stream is None else (await stream.read()).decode()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve(JOB.validate_json(sys.argv[1])))
