"""DBOS on SQLite or PostgreSQL: workflows and steps are async functions of this process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._sys_db import SendMessage

from benchmarks.measuring import DATABASE
from benchmarks.peers.playing import Activities, Engine, main

_STEPS: list[Activities] = []
"""What the step calls: workflows and steps are functions of a module here, not of an object."""


class _Dbos(Engine):
    def __init__(self, activities: Activities) -> None:
        super().__init__(activities)
        self._handles: dict[str, Any] = {}

    async def start(self, flow: str, inputs: Mapping[str, Any]) -> None:
        await asyncio.gather(*(self._start(flow, *each) for each in inputs.items()))

    async def _start(self, flow: str, instance: str, value: Any) -> None:
        with SetWorkflowID(instance):
            handle = await DBOS.start_workflow_async(_FLOWS[flow], value)
        self._handles[instance] = handle

    async def results(self, ids: Sequence[str]) -> list[Any]:
        return await asyncio.gather(*(self._result(instance) for instance in ids))

    async def _result(self, instance: str) -> Any:
        # One that another process started is known by its id alone.
        handle = self._handles.get(instance) or await DBOS.retrieve_workflow_async(instance)
        return await handle.get_result(polling_interval_sec=0.01)

    async def send(self, ids: Sequence[str], value: Any) -> None:
        await DBOS.send_bulk_async([SendMessage(each, value, "go") for each in ids])

    async def run(self, flow: str, instance: str, value: Any) -> Any:
        with SetWorkflowID(instance):
            return await _FLOWS[flow](value)


@asynccontextmanager
async def _opened(_: str, folder: Path, activities: Activities) -> AsyncGenerator[Engine]:
    _STEPS[:] = [activities]
    config = DBOSConfig(name="bench", application_version="1", log_level="ERROR")
    config["enable_otlp"] = False
    if url := os.environ.get(DATABASE):
        config["system_database_url"] = url.replace("postgresql:", "postgresql+psycopg:")
        config["sys_db_pool_size"] = 40
    else:
        config["system_database_url"] = f"sqlite:///{folder}/dbos.db"
        config["notification_listener_polling_interval_sec"] = 0.01
        sqlalchemy.event.listen(sqlalchemy.Engine, "connect", _tune)
    DBOS(config=config)
    DBOS.launch()
    try:
        yield _Dbos(activities)
    finally:
        DBOS.destroy()


def _tune(connection: Any, _: object) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


@DBOS.step()
async def _nothing(value: Any) -> Any:
    return _STEPS[0].nothing(value)


@DBOS.workflow()
async def _chain(length: int) -> int:
    for step in range(length):
        await _nothing(step)
    return length


@DBOS.workflow()
async def _fan_out(width: int) -> int:
    return len(await asyncio.gather(*(_nothing(number) for number in range(width))))


@DBOS.workflow()
async def _payload_chain(text: str) -> int:
    for _ in range(5):
        text = await _nothing(text)
    return len(text)


@DBOS.workflow()
async def _timer(seconds: float) -> float:
    began = time.time()
    await DBOS.sleep_async(seconds)
    return time.time() - began - seconds


@DBOS.workflow()
async def _one_event(_: int) -> Any:
    return await DBOS.recv_async("go", timeout_seconds=86_400)


@DBOS.workflow()
async def _chain_and_wait(length: int) -> Any:
    for step in range(length):
        await _nothing(step)
    return await DBOS.recv_async("go", timeout_seconds=86_400)


_FLOWS: Mapping[str, Any] = {
    "chain": _chain,
    "fan_out": _fan_out,
    "payload_chain": _payload_chain,
    "timer": _timer,
    "one_event": _one_event,
    # Waiting for a message has an end, so one that sleeps and can be woken is one that waits.
    "sleeper": _one_event,
    "chain_and_wait": _chain_and_wait,
}

if __name__ == "__main__":
    main(_opened)
