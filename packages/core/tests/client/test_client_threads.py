"""Clients that are used from other event loops and threads than the provider's."""

from __future__ import annotations

import asyncio
import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import perdure
import pytest
from perdure import (
    BlockingClient,
    Client,
    NotFound,
    OrchestrationContext,
    Registry,
    Runtime,
    SystemClock,
    WaitTimeout,
    open_provider,
)
from perdure.errors import ClientUnusable, ForbiddenInOrchestration, StorageFailed
from perdure_dynamodb import DynamoDBOptions
from perdure_dynamodb._opening import open_on
from perdure_dynamodb.testing.model import ModelCalls
from perdure_memory import MemoryProvider

from .stuck import Stuck

app = Registry()
THREADS = 20


@app.orchestration
async def double(ctx: OrchestrationContext, number: int) -> int:
    return 2 * number


@asynccontextmanager
async def dynamodb_model():
    options = DynamoDBOptions(table="threads")
    async with (
        open_on(ModelCalls(), options, clock=SystemClock()) as provider,
        provider.event_loop.opened(),
    ):
        yield provider


@pytest.fixture(params=["memory", "sqlite", "dynamodb"])
async def each_provider(request, tmp_path):
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/threads.db"}
    opened = dynamodb_model() if request.param == "dynamodb" else open_provider(urls[request.param])
    async with opened as provider:
        yield provider


async def test_twenty_threads_share_one_client_on_every_provider(each_provider):
    client = Client(each_provider)

    async def use(number: int) -> int:
        handle = await client.start_orchestration(f"i{number}", double, number)
        await handle.raise_event("more")
        return await handle.result(timeout=60)

    def blocking(number: int) -> int:
        own = BlockingClient(client)
        handle = own.start_orchestration(f"b{number}", double, number)
        return handle.result(timeout=60)

    begun = threading.Barrier(THREADS)

    def thread(number: int) -> tuple[int, int]:
        begun.wait(30)
        return asyncio.run(use(number)), blocking(number)

    threads = ThreadPoolExecutor(THREADS)
    run = functools.partial(asyncio.get_running_loop().run_in_executor, threads, thread)
    try:
        async with Runtime(each_provider, app):
            answers = await asyncio.gather(*map(run, range(THREADS)))
    finally:
        threads.shutdown(wait=False)

    assert answers == [(2 * number, 2 * number) for number in range(THREADS)]


async def test_errors_come_back_as_they_are(provider):
    def elsewhere() -> None:
        with pytest.raises(perdure.InvalidInput, match="page size 0"):
            asyncio.run(Client(provider).list_all_instances(0))
        with pytest.raises(WaitTimeout):
            asyncio.run(Client(provider).wait_for_orchestration("absent", 0))

    await asyncio.to_thread(elsewhere)


async def test_a_timeout_is_measured_on_the_clock_of_the_provider(provider, clock, turns):
    waiting = asyncio.ensure_future(
        asyncio.to_thread(lambda: asyncio.run(Client(provider).wait_for_orchestration("i", 3600)))
    )
    await turns.asleep()
    begun = clock.now()

    with pytest.raises(WaitTimeout):
        await turns.pass_time(waiting)
    assert clock.now() - begun >= 3600 * 1_000_000


async def test_cancelling_a_call_elsewhere_cancels_it_at_the_provider():
    async with open_provider("memory://") as inner:
        stuck = Stuck(inner)

        async def use() -> None:
            call = asyncio.ensure_future(Client(stuck).get_orchestration_status("i"))
            await asyncio.to_thread(stuck.begun.wait, 5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

        await asyncio.to_thread(asyncio.run, use())
        assert await asyncio.to_thread(stuck.cancelled.wait, 5)


async def test_closing_the_provider_ends_the_calls_of_other_loops():
    async with open_provider("memory://") as inner:
        stuck = Stuck(inner)
        status = Client(stuck).get_orchestration_status
        call = asyncio.ensure_future(asyncio.to_thread(lambda: asyncio.run(status("i"))))
        await asyncio.to_thread(stuck.begun.wait, 5)

    with pytest.raises(ClientUnusable, match="closed during the call"):
        await call
    assert stuck.cancelled.is_set()


async def test_a_client_of_a_closed_provider_says_so_on_every_loop(tmp_path):
    async with open_provider(f"sqlite:///{tmp_path}/closed.db") as provider:
        client, blocking = Client(provider), BlockingClient(provider)
        handle = await client.start_orchestration("i", double, 1)

    for call in (lambda: client.get_orchestration_status("i"), handle.status):
        with pytest.raises(ClientUnusable, match=r"closed\.db is closed; open it again"):
            await call()
        with pytest.raises(ClientUnusable, match="is closed"):
            await asyncio.to_thread(lambda call=call: asyncio.run(call()))
    with pytest.raises(ClientUnusable, match="is closed"):
        await asyncio.to_thread(blocking.get_orchestration_status, "i")


async def test_a_provider_that_failed_to_close_is_closed():
    @asynccontextmanager
    async def failing():
        provider = MemoryProvider()
        async with provider.event_loop.opened():
            yield provider
        raise StorageFailed("the disk is full; free some", operation="close")

    with pytest.raises(StorageFailed):
        async with failing() as provider:
            client = Client(provider)

    with pytest.raises(ClientUnusable, match="is closed"):
        await client.get_orchestration_status("i")


async def test_closing_a_blocking_client_leaves_a_provider_open_that_it_did_not_open():
    async with open_provider("memory://") as provider:

        def use() -> None:
            with BlockingClient(provider) as blocking:
                assert blocking.get_orchestration_status("i") == NotFound()
            with pytest.raises(ClientUnusable, match="closed"):
                blocking.get_orchestration_status("i")

        await asyncio.to_thread(use)
        assert await Client(provider).get_orchestration_status("i") == NotFound()


async def test_a_blocking_client_refuses_to_block_the_loop_of_its_provider():
    async with open_provider("memory://") as provider:
        with pytest.raises(ClientUnusable, match="use Client on this loop"):
            BlockingClient(provider).get_orchestration_status("i")


def test_a_blocking_client_of_a_provider_that_was_not_opened_is_refused():
    with pytest.raises(ClientUnusable, match="was not opened"):
        BlockingClient(MemoryProvider()).get_orchestration_status("i")


async def test_a_plain_activity_uses_the_client_of_its_context():
    calls = Registry()

    @calls.activity
    def look() -> str:
        client = BlockingClient(perdure.activity_context().client)
        return type(client.get_orchestration_status("i")).__name__

    @calls.orchestration
    async def ask(ctx: OrchestrationContext) -> str:
        return await ctx.schedule_activity(look)

    async with open_provider("memory://") as provider, Runtime(provider, calls):
        handle = await Client(provider).start_orchestration("i", ask)

        assert await handle.result(timeout=30) == "Running"


async def test_inside_an_orchestration_a_client_is_refused_by_name_and_carried_nowhere():
    shared: list[Client] = []
    refused: list[str] = []
    told = asyncio.Event()
    calls = Registry()

    @calls.orchestration
    async def reach_out(ctx: OrchestrationContext) -> None:
        try:
            await shared[0].get_orchestration_status("i")
        except ForbiddenInOrchestration as error:
            refused.append(str(error))
            told.set()

    async with open_provider("memory://") as provider, Runtime(provider, calls):
        shared.append(Client(provider))
        handle = await shared[0].start_orchestration("i", reach_out)
        await asyncio.wait_for(told.wait(), 30)
        with pytest.raises(perdure.WaitTimeout, match=r"it is parked \(forbidden\)"):
            await handle.wait(timeout=1)

    assert "get_orchestration_status was called inside an orchestration" in refused[0]
