"""Several processes on the model, of which a scheduler lets one request pass at a time.

The scheduler decides who goes on and what goes wrong: a process dies before or after a request's
effect, stalls, loses an answer, meets a conflict. A process that died is replaced by a new one.
Everything follows from the seed.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from random import Random
from typing import Protocol, TypeVar

from perdure.contract import ManualClock
from perdure.errors import StorageUnavailable

from perdure_dynamodb._opening import open_on
from perdure_dynamodb._options import DynamoDBOptions
from perdure_dynamodb._provider import DynamoDBProvider
from perdure_dynamodb._transport import (
    Answer,
    Busy,
    Parameters,
    Reason,
    TransactionCancelled,
    Unanswered,
)
from perdure_dynamodb.testing.model import ModelCalls

T = TypeVar("T")

# Few in the tests of every change; `nox -s protocol` asks for thousands.
RUNS = int(os.environ.get("PERDURE_FUZZ_RUNS", "24"))
PORTIONS = max(5, RUNS // 50)
"""Tests that share the runs, so that none takes longer than a test may."""
MOST_STEPS = 20_000
FATES = ("crash before", "crash after")
PROCESSES = 3

_SECOND = timedelta(seconds=1)


class Crashed(BaseException):
    """The process is dead: nothing of it runs any more."""


class Gate:
    """A process's way to the store: each request waits until the scheduler lets it pass."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        self.stalled_until = 0
        self.waiting: list[asyncio.Future[str]] = []

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One request, and what goes wrong with it."""
        turn: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        fate = await turn
        if self.dead or fate == "crash before":
            self.dead = True
            raise Crashed
        match fate:
            case "busy":
                raise Busy("injected")
            case "conflict" if operation == "TransactWriteItems":
                raise TransactionCancelled([Reason("TransactionConflict", None)])
            case "lost request":
                raise Unanswered("injected")
            case _:
                pass
        answer = self.world.model.apply(operation, parameters)
        if fate == "crash after":
            self.dead = True
            raise Crashed
        if fate == "lost answer":
            raise Unanswered("injected, after the effect")
        return answer


class Process(ABC):
    """What a process does with its provider, until it dies."""

    def __init__(self, world: World, gate: Gate, name: str) -> None:
        self.world = world
        self.gate = gate
        self.name = name
        self.provider: DynamoDBProvider
        self._count = 0

    @abstractmethod
    async def work(self) -> None:
        """All that it does; does not return."""

    def fresh(self) -> str:
        """A name that no other process ever had, and that this one has not used before."""
        self._count += 1
        return f"{self.name}-{self._count}"

    async def run(self) -> None:
        """Open the provider, and work."""
        options = DynamoDBOptions(table="model", namespace="fuzz", shards=1)
        opened = open_on(self.gate, options, clock=self.world.clock, pause=self._pause)
        self.provider = await self.persist(opened.__aenter__)
        await self.work()

    async def persist(self, call: Callable[..., Awaitable[T]], *arguments: object) -> T:
        """Repeat a call as the contract allows, until it says what happened."""
        while True:
            with suppress(StorageUnavailable):
                return await call(*arguments)

    async def _pause(self, seconds: float) -> None:
        await self.world.clock.sleep(timedelta(seconds=seconds))


class World(ABC):
    """The store, the clock, the processes, and the chances of mishaps."""

    def __init__(self, seed: int, *, crash_at: tuple[int, str] | None = None) -> None:
        self.random = Random(seed)  # noqa: S311 # no secret
        self.crash_at = crash_at
        self.calm = crash_at is not None or seed % 7 == 0
        self.model = ModelCalls(index_lag=0 if self.calm else self.random.choice([0, 0, 3, 30]))
        self.clock = ManualClock()
        self.gates: dict[asyncio.Task[None], Gate] = {}
        self.calls = 0
        """Requests that were let pass."""
        self._started = 0
        self._crashes = 0

    @abstractmethod
    def process(self, gate: Gate, name: str) -> Process:
        """A new process."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether everything has come to its end."""

    async def run(self) -> None:
        """Let one request pass at a time, until everything has ended."""
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        try:
            await self._run()
        finally:
            await self._stop()

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[DynamoDBProvider]:
        """A provider that nothing goes wrong with."""
        self.model.show_everything()
        options = DynamoDBOptions(table="model", namespace="fuzz", shards=1)
        async with open_on(self.model, options, clock=self.clock) as provider:
            yield provider

    async def _run(self) -> None:
        for _ in range(PROCESSES):
            self._start()
        for _ in range(MOST_STEPS):
            await asyncio.sleep(0)
            self._replace_dead()
            ready = self._ready() or await self._idle()
            if not ready:
                if self.ended() and not any(gate.waiting for gate in self.gates.values()):
                    return
                self.clock.advance(_SECOND / 2)
                continue
            gate = self.random.choice(ready)
            if not self.calm and self.random.random() < 0.01:
                gate.stalled_until = self.clock.now() + self.random.randint(1, 25) * 1_000_000
                continue
            if not self.calm and self.random.random() < 0.01:
                self.clock.advance(self.random.choice([1, 4, 11]) * _SECOND)
            turn = gate.waiting.pop(0)
            if not turn.done():
                turn.set_result(self._fate())
        raise AssertionError(f"not at its end after {MOST_STEPS} steps")

    async def _stop(self) -> None:
        current = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not current]
        for gate in self.gates.values():
            gate.dead = True
            for turn in gate.waiting:
                turn.cancel()
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _start(self) -> None:
        self._started += 1
        gate = Gate(self)
        process = self.process(gate, f"p{self._started}")
        self.gates[asyncio.get_running_loop().create_task(process.run())] = gate

    def _fate(self) -> str:
        self.calls += 1
        if self.crash_at is not None:
            number, fate = self.crash_at
            return fate if self.calls == number else "pass"
        chance = self.random.random()
        if self.calm or chance > 0.06:
            return "pass"
        if chance < 0.01 and self._crashes < 4:
            self._crashes += 1
            return self.random.choice(FATES)
        return self.random.choice(["busy", "conflict", "lost request", "lost answer"])

    def _ready(self) -> list[Gate]:
        return [
            gate
            for gate in self.gates.values()
            if gate.waiting and (gate.dead or gate.stalled_until <= self.clock.now())
        ]

    async def _idle(self) -> list[Gate]:
        """Let everything run that needs no request."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self._ready()

    def _replace_dead(self) -> None:
        for task in list(self.gates):
            if task.done():
                del self.gates[task]
                error = task.exception()
                if not isinstance(error, Crashed):
                    raise error or AssertionError("a process stopped by itself")
                self._start()


class Run(Protocol):
    """Runs a world of this seed and checks how it ended; returns the number of requests."""

    def __call__(self, seed: int, *, crash_at: tuple[int, str] | None = None) -> Awaitable[int]: ...


async def run_portion(portion: int, run: Run) -> None:
    """Make this portion of the runs, each with a seed of its own; a failure prints its seed."""
    for seed in range(portion, RUNS // 3, PORTIONS):
        try:
            await run(seed)
        except BaseException:
            print(f"seed {seed}")
            raise


async def crash_in_turn(fate: str, run: Run, *, stride: int) -> None:
    """Let a process die at every so many requests: of each so many at another one for each fate.

    With thousands of runs a process dies at every request. A failure prints its request.
    """
    if RUNS >= 1000:
        stride = 1
    calls = await run(1, crash_at=(0, fate))
    for number in range(1 + FATES.index(fate) % stride, calls, stride):
        try:
            await run(1, crash_at=(number, fate))
        except BaseException:
            print(f"crash at request {number} of {calls}")
            raise
