"""duroxide on SQLite: a Rust runtime in this process, flows that are generators."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import duroxide

from benchmarks.peers.playing import Activities, Engine, main

_TIMEOUT_MS = 600_000
_ONE_AFTER_THE_OTHER = (
    "fan_outs",
    "idle",
    "latency",
    "long_chain",
    "replay",
    "sleeping",
    "waiting",
)
"""Rows where more than one worker only gets in the others' way: they find the file locked."""


class _Duroxide(Engine):
    def __init__(self, provider: Any, activities: Activities) -> None:
        super().__init__(activities)
        self._client = duroxide.Client(provider)

    async def start(self, flow: str, inputs: Mapping[str, Any]) -> None:
        for instance, value in inputs.items():
            self._client.start_orchestration(instance, flow, value)

    async def results(self, ids: Sequence[str]) -> list[Any]:
        return [self._result(instance) for instance in ids]

    def _result(self, instance: str) -> Any:
        found = self._client.wait_for_orchestration(instance, _TIMEOUT_MS)
        if found.status != "Completed":
            raise RuntimeError(f"{instance} is {found.status}: {found.error}")
        return found.output

    def busy(self) -> bool:
        # An event that comes before its flow waits for it is lost.
        return self._client.get_queue_depths().orchestrator_queue > 0

    async def send(self, ids: Sequence[str], value: Any) -> None:
        for instance in ids:
            self._client.raise_event(instance, "go", value)


@asynccontextmanager
async def _opened(row: str, folder: Path, activities: Activities) -> AsyncGenerator[Engine]:
    provider = duroxide.SqliteProvider.open(str(folder / "duroxide.db"))
    workers = 1 if row in _ONE_AFTER_THE_OTHER else 2
    options = duroxide.RuntimeOptions(
        # Two is the default. With four, the locked file makes some flows fail.
        orchestration_concurrency=workers,
        worker_concurrency=workers,
        dispatcher_poll_interval_ms=5,
        log_level="error",
    )
    runtime = duroxide.Runtime(provider, options)
    runtime.register_activity("nothing", lambda _, value: activities.nothing(value))
    for flow in (_chain, _fan_out, _payload_chain, _timer, _one_event, _sleeper, _chain_and_wait):
        runtime.register_orchestration(flow.__name__.removeprefix("_"), flow)
    runtime.start()
    try:
        yield _Duroxide(provider, activities)
    finally:
        runtime.shutdown(100)


def _chain(ctx: Any, length: int) -> Any:
    for step in range(length):
        yield ctx.schedule_activity("nothing", step)
    return length


def _fan_out(ctx: Any, width: int) -> Any:
    results = yield ctx.all([ctx.schedule_activity("nothing", n) for n in range(width)])
    return len(results)


def _payload_chain(ctx: Any, text: str) -> Any:
    for _ in range(5):
        text = yield ctx.schedule_activity("nothing", text)
    return len(text)


def _timer(ctx: Any, seconds: float) -> Any:
    began = yield ctx.utc_now()
    yield ctx.schedule_timer(int(seconds * 1000))
    ended = yield ctx.utc_now()
    return (ended - began) / 1000 - seconds


def _one_event(ctx: Any, _: int) -> Any:
    return (yield ctx.wait_for_event("go"))


def _sleeper(ctx: Any, seconds: int) -> Any:
    first = yield ctx.race(ctx.wait_for_event("go"), ctx.schedule_timer(seconds * 1000))
    return first["value"]


def _chain_and_wait(ctx: Any, length: int) -> Any:
    for step in range(length):
        yield ctx.schedule_activity("nothing", step)
    return (yield ctx.wait_for_event("go"))


if __name__ == "__main__":
    main(_opened)
