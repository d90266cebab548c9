"""The floor of a step in processor time: an engine that keeps no promise but the programming model.

    python -m benchmarks.bare_asyncio

An orchestration is a coroutine in a task, an activity is a task of its own with its own context, what
goes in and out is JSON by the same codecs, and each step is two events of JSON in a dictionary. There
are no commits, leases, checks of what is repeated, time limits or cancellations across processes. What
Perdure takes above it is what durable execution costs; what this takes, no engine in Python saves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from statistics import median
from typing import Any

from perdure.model.payload import decode, encode
from pydantic_core import to_json

_INSTANCES, _STEPS, _ROUNDS = 500, 5, 9
_CURRENT: ContextVar[tuple[str, int]] = ContextVar("current")


class BareEngine:
    """Histories by instance, and the activities under way."""

    def __init__(self) -> None:
        self.histories: dict[str, list[bytes]] = {}
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, instance: str, orchestration: Awaitable[str]) -> asyncio.Task[str]:
        """Run an orchestration."""
        self.histories[instance] = []
        return asyncio.ensure_future(orchestration)

    def schedule(
        self, instance: str, activity: Callable[[Any], Awaitable[Any]], value: object
    ) -> asyncio.Future[Any]:
        """Begin an activity; the future has its result."""
        text, history = encode(value, int), self.histories[instance]
        history.append(_event("ActivityScheduled", name="nothing", input=text))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        work = self._run(instance, len(history), activity, text, future)
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return future

    async def _run(
        self,
        instance: str,
        scheduled: int,
        activity: Callable[[Any], Awaitable[Any]],
        text: str,
        future: asyncio.Future[Any],
    ) -> None:
        _CURRENT.set((instance, scheduled))
        result = encode(await activity(decode(text, int)), int)
        self.histories[instance].append(
            _event("ActivityCompleted", scheduled=scheduled, result=result)
        )
        future.set_result(decode(result, int))


def _event(kind: str, **fields: object) -> bytes:
    return to_json({"kind": kind, "at": time.time_ns() // 1000, **fields})


async def _nothing(value: int) -> int:
    return value


async def _chain(engine: BareEngine, instance: str) -> str:
    for step in range(_STEPS):
        await engine.schedule(instance, _nothing, step)
    return encode(_STEPS, int)


async def _play() -> float:
    """The microseconds of processor time that a step takes."""
    engine, began = BareEngine(), time.process_time()
    names = [f"chain-{number}" for number in range(_INSTANCES)]
    await asyncio.gather(*(engine.begin(name, _chain(engine, name)) for name in names))
    return (time.process_time() - began) / (_INSTANCES * _STEPS) * 1e6


def main() -> None:
    """Play some rounds and print the median."""
    rounds = [asyncio.run(_play()) for _ in range(_ROUNDS)]
    print(f"{_INSTANCES} chains of {_STEPS}: {median(rounds):.1f} µs of processor time a step")


if __name__ == "__main__":
    main()
