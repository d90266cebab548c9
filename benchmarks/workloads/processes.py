"""Several processes on one store: how much more they do, and how evenly they share it."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections import Counter

import perdure

from benchmarks.measuring import Measured, lap
from benchmarks.workloads.functions import app, spread_chain

_CHAINS = 200
_READY = b"ready\n"


async def processes(url: str, count: int) -> Measured:
    """Activities that do nothing."""
    return await _measured(url, count, works=False)


async def processes_1ms(url: str, count: int) -> Measured:
    """Activities that work for 1 ms."""
    return await _measured(url, count, works=True)


async def _measured(url: str, count: int, *, works: bool) -> Measured:
    workers = [await _worker(url) for _ in range(count)]
    try:
        async with perdure.open_provider(url) as provider:
            client = perdure.Client(provider)
            with lap() as took:
                handles = await asyncio.gather(
                    *(
                        client.start_orchestration(f"spread-{n}", spread_chain, works)
                        for n in range(_CHAINS)
                    )
                )
                ran = await asyncio.gather(*(handle.result(timeout=600) for handle in handles))
    finally:
        for worker in workers:
            worker.terminate()
            await worker.wait()
    shares = Counter(pid for pids in ran for pid in pids)
    of_workers = [shares[worker.pid] for worker in workers]
    return Measured(
        figure=5 * _CHAINS / took.seconds,
        notes={"smallest share": min(of_workers), "largest share": max(of_workers)},
    )


async def _worker(url: str) -> asyncio.subprocess.Process:
    words = (sys.executable, "-m", "benchmarks.workloads.processes", url)
    worker = await asyncio.create_subprocess_exec(*words, stdout=PIPE)
    if worker.stdout is None or await worker.stdout.readline() != _READY:
        raise RuntimeError("a worker did not begin")
    return worker


async def work(url: str) -> None:
    """Run a runtime until this process is terminated."""
    async with perdure.open_provider(url) as provider, perdure.Runtime(provider, app):
        sys.stdout.buffer.write(_READY)
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
