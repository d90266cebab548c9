"""`run_until_stopped` in real processes: what a signal does, and what it does a second time."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import perdure
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of another kind")

PROGRAM = """
import asyncio, sys
from datetime import timedelta
import perdure

app = perdure.Registry()

@app.activity
async def work(seconds: float) -> str:
    print("begun", flush=True)
    await asyncio.sleep(seconds)
    print("done", flush=True)
    return "done"

@app.orchestration
async def main(ctx: perdure.OrchestrationContext, seconds: float) -> str:
    return await ctx.schedule_activity(work, seconds)

async def run() -> None:
    async with perdure.open_provider(sys.argv[1]) as provider:
        client = perdure.Client(provider)
        await client.start_orchestration("it", main, float(sys.argv[2]))
        async with perdure.Runtime(provider, app) as runtime:
            await runtime.run_until_stopped()
            print("stopping", flush=True)
        print("left", flush=True)
        print((await client.get_queue_depths()).orchestrator_queue, "result", flush=True)

try:
    asyncio.run(run())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@contextmanager
def running(folder: Path, *, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A process whose activity has begun, and takes so long."""
    line = [sys.executable, "-c", PROGRAM, f"sqlite:///{folder / 'x.db'}", str(seconds)]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_block_in_order_and_what_is_under_way_is_finished(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running(tmp_path, seconds=2) as process:
        process.send_signal(number)
        out, error = process.communicate(timeout=30)

    assert out.splitlines() == ["stopping", "done", "left", "1 result"]
    assert (error, process.returncode) == ("", 0)


@pytest.mark.slow
def test_a_second_interrupt_ends_the_grace_period(tmp_path: Path) -> None:
    with running(tmp_path, seconds=60) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGINT)
        # Half as long as the activity would take.
        out, error = process.communicate(timeout=30)

    assert (out, error) == ("interrupted\n", "")


@pytest.mark.slow
def test_a_second_termination_ends_the_process(tmp_path: Path) -> None:
    with running(tmp_path, seconds=60) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)

    assert out == ""
    assert process.returncode == -signal.SIGTERM


async def test_outside_of_the_block_it_is_refused() -> None:
    async with perdure.open_provider("memory://") as provider:
        runtime = perdure.Runtime(provider, perdure.Registry())

        with pytest.raises(perdure.PerdureError, match="outside the runtime's block"):
            await runtime.run_until_stopped()


def test_outside_of_the_main_thread_it_is_refused() -> None:
    async def run() -> None:
        async with (
            perdure.open_provider("memory://") as provider,
            perdure.Runtime(provider, perdure.Registry()) as runtime,
        ):
            await runtime.run_until_stopped()

    async def main() -> None:
        await asyncio.to_thread(lambda: asyncio.run(run()))

    with pytest.raises(perdure.PerdureError, match="outside the main thread"):
        asyncio.run(main())


async def test_the_handlers_are_those_of_before_when_it_is_cancelled() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with (
        perdure.open_provider("memory://") as provider,
        perdure.Runtime(provider, perdure.Registry()) as runtime,
    ):
        waiting = asyncio.ensure_future(runtime.run_until_stopped())
        await asyncio.sleep(0)
        during = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
        waiting.cancel()
        await asyncio.wait([waiting])
        after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    assert during != before
    assert after == before
