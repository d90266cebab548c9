"""durabletask on its in-memory backend for tests: a gRPC server and a worker in this process."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from durabletask import task
from durabletask.client import TaskHubGrpcClient
from durabletask.testing.in_memory_backend import create_test_backend
from durabletask.worker import ConcurrencyOptions, TaskHubGrpcWorker

from benchmarks.peers.playing import Activities, Engine, main


class _DurableTask(Engine):
    def __init__(self, client: TaskHubGrpcClient, activities: Activities) -> None:
        super().__init__(activities)
        self._client = client

    async def start(self, flow: str, inputs: Mapping[str, Any]) -> None:
        for instance, value in inputs.items():
            self._client.schedule_new_orchestration(flow, input=value, instance_id=instance)

    async def results(self, ids: Sequence[str]) -> list[Any]:
        return [self._result(instance) for instance in ids]

    def _result(self, instance: str) -> Any:
        state = self._client.wait_for_orchestration_completion(instance, timeout=600)
        if state is None:
            raise RuntimeError(f"{instance} is not known")
        state.raise_if_failed()
        return state.get_output()

    async def send(self, ids: Sequence[str], value: Any) -> None:
        for instance in ids:
            self._client.raise_orchestration_event(instance, "go", data=value)


@asynccontextmanager
async def _opened(_: str, __: Path, activities: Activities) -> AsyncGenerator[Engine]:
    port = _free_port()
    backend = create_test_backend(port=port, max_history_size=1_000_000)
    address = f"127.0.0.1:{port}"
    logger = logging.getLogger("quiet")
    logger.setLevel(logging.CRITICAL)
    quiet = {"logger": logger, "emit_trace_spans": False}
    worker = TaskHubGrpcWorker(
        host_address=address, concurrency_options=ConcurrencyOptions(), **quiet
    )
    worker._registry.add_named_activity("nothing", lambda _, value: activities.nothing(value))
    for flow in (_chain, _fan_out, _payload_chain, _timer, _one_event, _sleeper):
        worker._registry.add_named_orchestrator(flow.__name__.removeprefix("_"), flow)
    worker.start()
    client = TaskHubGrpcClient(host_address=address, **quiet)
    try:
        yield _DurableTask(client, activities)
    finally:
        worker.stop()
        backend.stop()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _chain(ctx: Any, length: int) -> Any:
    for step in range(length):
        yield ctx.call_activity("nothing", input=step)
    return length


def _fan_out(ctx: Any, width: int) -> Any:
    tasks = [ctx.call_activity("nothing", input=number) for number in range(width)]
    results = yield task.when_all(tasks)
    return len(results)


def _payload_chain(ctx: Any, text: str) -> Any:
    for _ in range(5):
        text = yield ctx.call_activity("nothing", input=text)
    return len(text)


def _timer(ctx: Any, seconds: float) -> Any:
    began = ctx.current_utc_datetime
    yield ctx.create_timer(timedelta(seconds=seconds))
    return (ctx.current_utc_datetime - began).total_seconds() - seconds


def _one_event(ctx: Any, _: int) -> Any:
    return (yield ctx.wait_for_external_event("go"))


def _sleeper(ctx: Any, seconds: int) -> Any:
    waits = ctx.wait_for_external_event("go")
    yield task.when_any([waits, ctx.create_timer(timedelta(seconds=seconds))])
    return waits.get_result()


if __name__ == "__main__":
    main(_opened)
