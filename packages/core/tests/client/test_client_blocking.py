"""The blocking client: the same calls from code without an event loop."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from types import FrameType

import perdure
import pytest
from perdure import (
    BlockingClient,
    BlockingHandle,
    Client,
    Completed,
    EventArrival,
    Handle,
    InstanceAlreadyExists,
    InstanceFilter,
    NotFound,
    OrchestrationContext,
    Registry,
    Running,
    WaitTimeout,
)
from perdure.client.loop_thread import LoopThread
from perdure.errors import ClientUnusable, ProviderNotInstalled, StorageFailed
from perdure_memory import MemoryProvider

from .stuck import Stuck

app = Registry()


@app.orchestration
async def double(ctx: OrchestrationContext, number: int) -> int:
    await ctx.schedule_wait("go")
    return 2 * number


class Sticking:
    """A plugin whose provider is stuck."""

    @perdure.hookimpl
    def perdure_wrap_provider(self, spec):
        def wrap(provider):
            self.provider = Stuck(provider)
            return self.provider

        return wrap


def open_stuck() -> tuple[BlockingClient, Stuck]:
    plugin = Sticking()
    return BlockingClient.open("memory://", plugins=[plugin]), plugin.provider


@contextmanager
def interrupt_after(begun: threading.Event) -> Iterator[None]:
    """Interrupt the main thread once this has begun.

    The signal is sent until it is heard: the interpreter does not look for one between its last
    instruction and a wait for a lock, and the wait then goes on.
    """
    heard = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        if not heard.is_set():
            heard.set()
            raise KeyboardInterrupt

    def interrupt() -> None:
        begun.wait(5)
        while not heard.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            heard.wait(0.1)

    before = signal.signal(signal.SIGINT, hear)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)


def public(kind):
    return {name for name in vars(kind) if not name.startswith("_")} | {
        name for base in kind.__mro__[1:-1] for name in vars(base) if not name.startswith("_")
    }


def test_every_method_of_the_client_is_there_with_the_same_arguments_and_words():
    assert public(BlockingClient) - public(Client) == {"open", "close"}
    assert public(Client) - public(BlockingClient) == {"provider"}
    assert public(Handle) == public(BlockingHandle)
    for ours, theirs in ((BlockingClient, Client), (BlockingHandle, Handle)):
        for name in public(theirs) & public(ours):
            method, original = getattr(ours, name), getattr(theirs, name)
            if not callable(method):
                continue
            assert method.__doc__ == original.__doc__, name
            assert inspect.signature(method).parameters == inspect.signature(original).parameters, (
                name
            )


def test_calls_wait_for_their_answers():
    with BlockingClient.open("memory://") as client:
        assert client.get_orchestration_status("i") == NotFound()
        handle = client.start_orchestration("i", "Sum", "1")

        assert handle.instance == "i"
        assert handle.status() == Running()
        assert list(client.list_all_instances()) == ["i"]
        assert client.get_queue_depths().orchestrator_queue == 1
        with pytest.raises(InstanceAlreadyExists):
            client.start_orchestration("i", "Sum")
        with pytest.raises(WaitTimeout):
            client.wait_for_orchestration("i", timedelta(milliseconds=5))


def test_calls_that_look_and_mend_wait_for_their_answers():
    with BlockingClient.open("memory://") as client:
        client.start_orchestration("i", "Sum", labels={"tenant": "acme"}, delay=60)
        tenants = InstanceFilter(labels={"tenant": "acme"})

        assert [info.instance for info in client.list_instances(tenants)] == ["i"]
        assert "first turn" in client.describe_instance("i").doing
        assert client.terminate_instance("i") is True
        assert [info.status.value for info in client.watch_instance("i")] == ["Failed"]
        assert client.get_instance_tree("i").children == ()
        assert client.get_values("i") == {}
        assert client.get_handle("i").instance == "i"
        assert client.delete_instances(tenants, limit=10) == ["i"]
        assert client.raise_event_typed("i", "go", 1) is EventArrival.EARLY
        assert client.delete_early_events("i") == 1
        client.delete_namespace(confirm="memory://")


async def test_an_orchestration_runs_to_its_result():
    def work(client: BlockingClient) -> None:
        handle = client.start_orchestration("i", double, 4)
        handle.raise_event("go")

        assert handle.result(10) == 8
        assert handle.wait(1) == Completed(output="8")
        assert client.wait_for_orchestration_typed("i", int, 1) == 8
        by_call = client.start("j", double)(5)
        by_call.raise_event("go")
        assert by_call.result(10) == 10
        assert client.read_execution_history("i", 1)[0].kind == "OrchestrationStarted"

    async with perdure.open_provider("memory://") as provider, perdure.Runtime(provider, app):
        await asyncio.to_thread(work, BlockingClient(provider))


def test_one_client_serves_many_threads():
    with BlockingClient.open("memory://") as client:
        threads = [
            threading.Thread(target=client.start_orchestration, args=(f"i{number}", "Sum"))
            for number in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert client.get_system_metrics().total_instances == 20


def test_a_closed_client_refuses_every_call():
    client = BlockingClient.open("memory://")
    client.close()
    client.close()

    with pytest.raises(ClientUnusable, match="closed"):
        client.get_orchestration_status("i")
    with pytest.raises(ClientUnusable, match="closed"):
        client.has_management_capability()


def test_closing_ends_the_calls_under_way():
    client, provider = open_stuck()
    outcome: list[BaseException] = []

    def call():
        try:
            client.get_orchestration_status("i")
        except ClientUnusable as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert provider.begun.wait(5)
    client.close()
    thread.join(5)

    assert "closed during the call" in str(outcome[0])
    assert provider.cancelled.is_set()


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ")
def test_an_interrupt_cancels_the_call_that_waits():
    client, provider = open_stuck()
    with client:
        with interrupt_after(provider.begun), pytest.raises(KeyboardInterrupt):
            client.get_orchestration_status("i")

        assert provider.cancelled.wait(5)


def test_its_own_event_loop_must_not_call_it():
    with BlockingClient.open("memory://") as client:

        async def call() -> None:
            with pytest.raises(ClientUnusable, match="own event loop"):
                client.get_orchestration_status("i")
            with pytest.raises(ClientUnusable, match="own event loop"):
                client.close()

        client._caller._loop.call_blocking(call)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_is_refused_and_closes_nothing():
    with BlockingClient.open("memory://") as client:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            told = b"no error"
            try:
                client.close()
                client.get_orchestration_status("i")
            except ClientUnusable as error:
                told = str(error).encode()
            finally:
                os.write(write_end, told)
                os._exit(0)
        os.close(write_end)
        told = os.read(read_end, 1000).decode()
        os.close(read_end)
        os.waitpid(child, 0)

        assert "fork" in told
        assert "open one after the fork" in told
        assert client.get_orchestration_status("i") == NotFound()


def test_a_fork_while_other_threads_call_is_refused_too():
    # As if another thread held the lock when the process was forked.
    with BlockingClient.open("memory://") as client:
        loop, thread = client._caller._loop, client._thread
        assert thread is not None
        with loop._guard:
            loop._process += 1
            thread._process += 1
            with pytest.raises(ClientUnusable, match="fork"):
                client.get_orchestration_status("i")
            thread.close()
            loop._process -= 1
            thread._process -= 1


def test_what_opening_raises_reaches_the_caller():
    with pytest.raises(ProviderNotInstalled, match="nosuchscheme"):
        BlockingClient.open("nosuchscheme://x")
    assert "perdure-client" not in {thread.name for thread in threading.enumerate()}


def test_what_closing_raises_reaches_the_caller():
    @asynccontextmanager
    async def failing():
        yield MemoryProvider()
        raise StorageFailed("the disk is full; free some", operation="close")

    thread = LoopThread(failing)
    with pytest.raises(StorageFailed):
        thread.close()
    thread.close()


def test_an_interrupted_opening_does_not_stay_open():
    closed = threading.Event()
    opening = threading.Event()
    interrupted = threading.Event()

    @asynccontextmanager
    async def slow():
        opening.set()
        await asyncio.to_thread(interrupted.wait, 5)
        yield MemoryProvider()
        closed.set()

    with interrupt_after(opening), pytest.raises(KeyboardInterrupt):
        LoopThread(slow)
    interrupted.set()

    assert closed.wait(5)


async def test_inside_an_event_loop_it_may_be_called_from_a_thread():
    def work() -> int:
        with BlockingClient.open("memory://") as client:
            client.start_orchestration("i", "Sum")
            return client.get_system_metrics().total_instances

    assert await asyncio.to_thread(work) == 1


@pytest.mark.slow
def test_a_client_that_is_never_closed_does_not_keep_the_process():
    code = "import perdure; perdure.BlockingClient.open('memory://'); print('end')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == "end\n"
