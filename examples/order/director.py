"""The demonstration: workers are killed with SIGKILL at the worst moments, and nothing is lost.

The first dies when the bank has booked a charge and its answer is under way; the second while
orders wait for an approval, which is then given while no worker is alive. What holds at the end
is looked up in the histories and in the ledger of the world outside.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import perdure

import verdict
from orders import Approval, process_order
from outside import Outside
from screen import Screen
from stage import Stage

_PATIENCE_SECONDS = 60.0


async def direct(stage: Stage) -> bool:
    """Play it; returns whether everything holds that must."""
    screen = Screen("demonstration")
    screen.title("Two orders; the workers that run them are killed with kill -9 on the way.")
    async with perdure.open_provider(stage.url) as provider:
        client = perdure.Client(provider)
        worker = _Worker(stage)
        try:
            await _play(stage, client, screen, worker)
        finally:
            worker.stop()
        screen.say("", "all orders have ended", "bold")
        return await verdict.show(stage, client, screen)


async def _play(stage: Stage, client: perdure.Client, screen: Screen, worker: _Worker) -> None:
    outside = Outside(stage.ledger)
    names = [order.number for order in stage.orders()]
    worker.start()
    for order in stage.orders():
        await client.start_orchestration(order.number, process_order, order)

    async def charged() -> bool:
        return bool(outside.requests(names[0], "charge"))

    await _until(charged, worker)
    worker.kill()
    screen.say(
        names[0], f"kill -9 {worker.pid}: the bank has booked, and its answer is lost", "red"
    )
    worker.start()

    async def waiting() -> bool:
        return all([await _waits(client, name) for name in names])

    await _until(waiting, worker)
    worker.kill()
    screen.say("", f"kill -9 {worker.pid}: no worker runs the orders now", "red")
    for name in names:
        await approve(client, name)
        screen.say(name, "approved by its owner, while no worker is alive", "bold")
    worker.start()
    for name in names:
        await client.wait_for_orchestration(name, _PATIENCE_SECONDS * stage.pace)


async def approve(client: perdure.Client, order: str) -> None:
    """Raise the event that an order waits for; however often it is raised, it counts once."""
    approval = Approval(by="Ines")
    await client.raise_event_typed(order, "approval", approval, event_id=f"approval of {order}")


async def _waits(client: perdure.Client, order: str) -> bool:
    return verdict.waits_for_approval(await client.read_execution_history(order, 1))


async def _until(holds: Callable[[], Awaitable[bool]], worker: _Worker) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while not await holds():
        worker.check()
        if time.monotonic() > end:
            raise RuntimeError(f"the orders did not get on within {_PATIENCE_SECONDS:g} s")
        await asyncio.sleep(0.02)


class _Worker:
    """The worker process of the moment."""

    def __init__(self, stage: Stage) -> None:
        self._line = [sys.executable, str(Path(__file__).parent), "worker", *stage.arguments()]
        self._process: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def start(self) -> None:
        self._process = subprocess.Popen(self._line)  # noqa: S603 # this example itself
        self.pid = self._process.pid

    def kill(self) -> None:
        """As `kill -9` does: it learns nothing of it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def check(self) -> None:
        """Raises where it ended by itself."""
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise RuntimeError(f"worker {self.pid} ended by itself with exit code {code}")

    def stop(self) -> None:
        """Ask it to stop, and see that it does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.kill()
