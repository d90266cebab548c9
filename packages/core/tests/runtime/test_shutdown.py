"""However a runtime is left and whatever hangs, it is gone in bounded time and leaves nothing."""

from __future__ import annotations

import asyncio
import gc
import itertools
import signal
import subprocess
import sys
from datetime import timedelta

import perdure
import pytest
from perdure import Runtime, RuntimeOptions
from perdure.errors import StorageClosed

from .faulty import Fault, FaultyProvider, combined
from .manual_time import rounds

GRACE = timedelta(seconds=10)
OPTIONS = RuntimeOptions(shutdown_grace=GRACE, cache_size=0, hold=timedelta(seconds=1000))

app = perdure.Registry()


@app.activity
async def endless() -> None:
    await asyncio.Event().wait()


@app.activity
async def quick(number: int) -> int:
    return number


@app.activity
async def deaf() -> None:
    """Ignores its cancellation until the test lets it end."""
    gate = perdure.activity_context().resources
    assert isinstance(gate, asyncio.Event)
    while not gate.is_set():
        try:
            await gate.wait()
        except asyncio.CancelledError:
            continue


@app.orchestration
async def main(ctx: perdure.OrchestrationContext, activity: str) -> None:
    await ctx.schedule_wait("go")
    await ctx.schedule_activity("quick", 1)
    await ctx.schedule_activity(activity)


@pytest.fixture
def complaints() -> list[dict[str, object]]:
    return []


def others() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def until_gone(leaving: asyncio.Task[None], clock: perdure.ManualClock) -> timedelta:
    """Let time pass until the runtime is left; how much did."""
    began = clock.now()
    await rounds()
    while not leaving.done() and clock.now() - began < 100_000_000:
        clock.advance(timedelta(milliseconds=100))
        await rounds()
    return timedelta(microseconds=clock.now() - began)


async def give_work(client: perdure.Client, activity: str = "endless") -> None:
    for instance in ("a", "b"):
        await client.start_orchestration_typed(instance, "main", activity)
    await rounds()
    for instance in ("a", "b"):
        await client.raise_event(instance, "go")
    await rounds()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "fault", "cancels", "early"),
    combined([*itertools.product([0, 1, 2], [False, True])], few=1),
    ids=str,
)
async def test_a_runtime_is_gone_in_time_while_a_call(
    method: str, fault: Fault, cancels: int, early: bool, clock: perdure.ManualClock
) -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, each: complaints.append(each))
    async with perdure.open_provider("memory://", clock=clock) as inner:
        provider = FaultyProvider(inner, fault)
        runtime = Runtime(provider, app, options=OPTIONS)
        await runtime.__aenter__()
        if early:
            provider.method = method
        await give_work(perdure.Client(inner))
        provider.method = method

        leaving = asyncio.ensure_future(runtime.__aexit__(None, None, None))
        await rounds(3)
        for _ in range(cancels):
            leaving.cancel()
            await rounds(3)
        took = await until_gone(leaving, clock)

        assert leaving.done()
        assert leaving.cancelled() == bool(cancels)
        assert took <= (timedelta(seconds=1) if cancels else GRACE + timedelta(seconds=1))
        assert runtime.statistics.activities_running == 0
        assert runtime.statistics.turns_running == 0
        assert [task for task in others() if task is not leaving] == []
        calls = provider.calls
        clock.advance(timedelta(minutes=10))
        await rounds()
        assert provider.calls == calls
    del runtime, leaving
    gc.collect()
    await rounds(3)
    assert complaints == []


async def test_leaving_by_cancellation_gives_every_lease_back(clock: perdure.ManualClock) -> None:
    async with perdure.open_provider("memory://", clock=clock) as provider:
        client = perdure.Client(provider)
        runtime = Runtime(provider, app, options=OPTIONS)
        await runtime.__aenter__()
        await give_work(client)
        assert runtime.statistics.activities_running == 2
        leaving = asyncio.ensure_future(runtime.__aexit__(None, None, None))
        await rounds(3)

        leaving.cancel()
        await rounds()

        assert leaving.cancelled()
        at_once = RuntimeOptions(shutdown_grace=timedelta(0))
        async with Runtime(provider, app, options=at_once) as next_one:
            await rounds()
            assert next_one.statistics.activities_running == 2


async def test_an_activity_that_ignores_its_cancellation_is_left_behind_and_named(
    clock: perdure.ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    gate = asyncio.Event()
    async with perdure.open_provider("memory://", clock=clock) as provider:
        runtime = Runtime(provider, app, options=OPTIONS, resources=gate)
        await runtime.__aenter__()
        await give_work(perdure.Client(provider), "deaf")

        leaving = asyncio.ensure_future(runtime.__aexit__(None, None, None))
        took = await until_gone(leaving, clock)

        assert leaving.done()
        assert took <= GRACE + timedelta(seconds=1)
        assert "activity 'deaf' of 'a' ignores its cancellation" in caplog.text
        gate.set()
        await rounds()
        assert others() == []


@pytest.mark.parametrize("url", ["memory://", "sqlite:///closed.db"])
async def test_a_runtime_on_a_provider_that_was_closed_is_refused(
    url: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with perdure.open_provider(url) as provider:
        pass

    with pytest.raises(StorageClosed, match="is (closed|not open)"):
        async with Runtime(provider, app):
            raise AssertionError("it must not be entered")
    assert others() == []


@pytest.mark.parametrize("url", ["memory://", "sqlite:///closed.db"])
async def test_a_runtime_whose_provider_is_closed_under_it_ends_its_block(
    url: str, tmp_path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    opening = perdure.open_provider(url)
    provider = await opening.__aenter__()
    closing: list[asyncio.Task[object]] = []

    async def block() -> str:
        async with Runtime(provider, app):
            closing.append(asyncio.ensure_future(opening.__aexit__(None, None, None)))
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await closing[0]
                raise
        return "left in order"

    with pytest.raises(StorageClosed):
        await asyncio.wait_for(block(), 10)

    assert "close a provider after its runtimes" in caplog.text
    current = asyncio.current_task()
    assert current is not None
    assert not current.cancelling()
    assert others() == []


async def test_an_error_of_the_block_goes_through(clock: perdure.ManualClock) -> None:
    async with perdure.open_provider("memory://", clock=clock) as provider:
        with pytest.raises(LookupError):
            async with Runtime(provider, app):
                raise LookupError


async def test_a_storage_that_is_out_of_reach_for_now_does_not_keep_a_runtime_from_starting(
    clock: perdure.ManualClock,
) -> None:
    async with perdure.open_provider("memory://", clock=clock) as inner:
        provider = FaultyProvider(inner, "is throttled", "read_instance")

        async with Runtime(provider, app, options=RuntimeOptions(shutdown_grace=timedelta(0))):
            pass

        assert provider.failed["read_instance"] == 1


@pytest.mark.slow
def test_a_second_signal_ends_a_process_whose_storage_and_thread_hang(tmp_path) -> None:
    program = """
import asyncio, threading
from datetime import timedelta
from functools import partial
import perdure
from perdure.contract import DelegatingProvider

app = perdure.Registry()
begun = threading.Event()

@app.activity
def stuck() -> None:
    begun.set()
    threading.Event().wait()

@app.activity
async def slow() -> None:
    await asyncio.Event().wait()

@app.orchestration
async def main(ctx: perdure.OrchestrationContext) -> None:
    await asyncio.gather(ctx.schedule_activity(slow), ctx.schedule_activity(stuck))

class Hanging(DelegatingProvider):
    async def release_activity(self, release):
        await asyncio.Event().wait()

    async def release_turn(self, release):
        await asyncio.Event().wait()

async def run() -> None:
    async with perdure.open_provider("memory://") as provider:
        options = perdure.RuntimeOptions(shutdown_grace=timedelta(hours=1))
        async with perdure.Runtime(Hanging(provider), app, options=options):
            await perdure.Client(provider).start_orchestration("a", main)
            await asyncio.to_thread(begun.wait)
            print("ready", flush=True)
            try:
                await asyncio.Event().wait()
            finally:
                # In the grace period: an interrupt in this block would only be its error.
                asyncio.get_running_loop().call_later(0.2, partial(print, "ending", flush=True))

try:
    asyncio.run(run())
except KeyboardInterrupt:
    print("interrupted")
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        # The first signal begins the end, which waits for its grace period of an hour.
        assert process.stdout.readline() == "ending\n"
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=60)

    assert (out, error) == ("interrupted\n", "")
