"""Restate: a server with RocksDB that this process starts, and a service beside it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import restate
import uvloop
from hypercorn.asyncio import serve
from hypercorn.config import Config

from benchmarks.peers.environments import restate_server
from benchmarks.peers.playing import Activities, Engine, main

_STARTS_AT_ONCE = 64


class _Restate(Engine):
    def __init__(
        self, session: aiohttp.ClientSession, ingress: str, server: int, activities: Activities
    ) -> None:
        super().__init__(activities)
        self._session, self._ingress, self._server = session, ingress, server
        self._flows: dict[str, str] = {"replayed": "chain_and_wait"}
        self._starting = asyncio.Semaphore(_STARTS_AT_ONCE)

    @property
    def servers(self) -> Sequence[int]:
        return (self._server,)

    async def start(self, flow: str, inputs: Mapping[str, Any]) -> None:
        async def start(instance: str, value: Any) -> None:
            self._flows[instance] = flow
            async with self._starting:
                await self._post(f"{flow}/{instance}/run/send", value)

        await asyncio.gather(*(start(*each) for each in inputs.items()))

    async def results(self, ids: Sequence[str]) -> list[Any]:
        return await asyncio.gather(*(self._result(instance) for instance in ids))

    async def _result(self, instance: str) -> Any:
        url = f"{self._ingress}/restate/workflow/{self._flows[instance]}/{instance}/attach"
        async with self._session.get(url) as answer:
            return await _checked(answer)

    async def send(self, ids: Sequence[str], value: Any) -> None:
        async def send(instance: str) -> None:
            async with self._starting:
                await self._post(f"{self._flows[instance]}/{instance}/go", value)

        await asyncio.gather(*(send(instance) for instance in ids))

    async def run(self, flow: str, instance: str, value: Any) -> Any:
        return await self._post(f"{flow}/{instance}/run", value)

    async def _post(self, path: str, value: Any) -> Any:
        async with self._session.post(f"{self._ingress}/{path}", json=value) as answer:
            return await _checked(answer)


async def _checked(answer: aiohttp.ClientResponse) -> Any:
    text = await answer.text()
    if answer.status >= 300:
        raise RuntimeError(f"Restate answers {answer.status}: {text}")
    return json.loads(text) if text else None


@asynccontextmanager
async def _opened(_: str, folder: Path, activities: Activities) -> AsyncGenerator[Engine]:
    ingress, admin, node, service = _ports(folder / "ports")
    settings = {
        "RESTATE_BASE_DIR": str(folder),
        "RESTATE_NODE_NAME": "bench",
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_BIND_PORT": str(node),
        "RESTATE_DISABLE_TELEMETRY": "true",
        "RESTATE_LOG_FILTER": "error",
    }
    server = await asyncio.create_subprocess_exec(
        restate_server(), "--no-logo", cwd=folder, env={**os.environ, **settings}
    )
    stop = asyncio.Event()
    config = Config()
    config.bind, config.loglevel = [f"127.0.0.1:{service}"], "ERROR"
    config.h2_max_concurrent_streams = 2**31 - 1
    app = restate.app(services=_flows(activities))
    serving = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    try:
        connector = aiohttp.TCPConnector(limit=0)
        unlimited = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=unlimited) as session:
            await _register(session, admin, service)
            url = f"http://127.0.0.1:{ingress}"
            yield _Restate(session, url, server.pid, activities)
    finally:
        server.terminate()
        await server.wait()
        stop.set()
        await asyncio.wait([serving], timeout=1.0)


def _ports(chosen: Path) -> list[int]:
    """Four free ones, the same for each server in this folder: its data names them."""
    if not chosen.exists():
        chosen.write_text(json.dumps(_free_ports(4)), "utf-8")
    return json.loads(chosen.read_text("utf-8"))


def _free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


async def _register(session: aiohttp.ClientSession, admin: int, service: int) -> None:
    """Tell the server where the service is, as soon as it listens."""
    deployment = {"uri": f"http://127.0.0.1:{service}", "force": True}
    end = time.monotonic() + 60
    while True:
        try:
            url = f"http://127.0.0.1:{admin}/deployments"
            async with session.post(url, json=deployment) as answer:
                if answer.status < 300:
                    return
                said = await answer.text()
        except aiohttp.ClientError as error:
            said = str(error)
        if time.monotonic() > end:
            raise RuntimeError(f"Restate does not start: {said}")
        await asyncio.sleep(0.05)


def _flows(activities: Activities) -> list[restate.Workflow]:
    return [
        _workflow(name, run)
        for name, run in {
            "chain": _chain,
            "fan_out": _fan_out,
            "payload_chain": _payload_chain,
            "timer": _timer,
            "one_event": _one_event,
            "sleeper": _sleeper,
            "chain_and_wait": _chain_and_wait,
        }.items()
        for run in [_with(run, activities)]
    ]


def _with(run: Any, activities: Activities) -> Any:
    async def handler(ctx: restate.WorkflowContext, value: Any) -> Any:
        return await run(ctx, value, activities)

    return handler


def _workflow(name: str, run: Any) -> restate.Workflow:
    workflow = restate.Workflow(name)
    workflow.main("run")(run)

    @workflow.handler()
    async def go(ctx: restate.WorkflowSharedContext, value: Any) -> None:
        await ctx.promise("go").resolve(value)

    return workflow


async def _chain(ctx: restate.WorkflowContext, length: int, activities: Activities) -> int:
    for step in range(length):
        await ctx.run_typed("nothing", activities.nothing, value=step)
    return length


async def _fan_out(ctx: restate.WorkflowContext, width: int, activities: Activities) -> int:
    steps = [ctx.run_typed("nothing", activities.nothing, value=n) for n in range(width)]
    return len(await restate.gather(*steps))


async def _payload_chain(ctx: restate.WorkflowContext, text: str, activities: Activities) -> int:
    for _ in range(5):
        text = await ctx.run_typed("nothing", activities.nothing, value=text)
    return len(text)


async def _timer(ctx: restate.WorkflowContext, seconds: float, _: Activities) -> float:
    began = time.time()
    await ctx.sleep(timedelta(seconds=seconds))
    return time.time() - began - seconds


async def _one_event(ctx: restate.WorkflowContext, _: int, __: Activities) -> Any:
    return await ctx.promise("go").value()


async def _sleeper(ctx: restate.WorkflowContext, seconds: int, _: Activities) -> Any:
    match await restate.select(
        woken=ctx.promise("go").value(), slept=ctx.sleep(timedelta(seconds=seconds))
    ):
        case ["woken", value]:
            return value
        case _:
            return None


async def _chain_and_wait(ctx: restate.WorkflowContext, length: int, activities: Activities) -> Any:
    for step in range(length):
        await ctx.run_typed("nothing", activities.nothing, value=step)
    return await ctx.promise("go").value()


if __name__ == "__main__":
    main(_opened, uvloop.new_event_loop)
