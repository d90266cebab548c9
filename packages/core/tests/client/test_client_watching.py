"""Watching an instance: each change that a look finds, until it has ended or is gone."""

from __future__ import annotations

import asyncio
import threading

import perdure
import pytest
from perdure import (
    BlockingClient,
    Client,
    InstanceStatus,
    InvalidIdentifier,
    OrchestrationContext,
    Registry,
)
from perdure.contract import DelegatingProvider
from perdure.history import WaitCreated


async def test_a_watch_yields_every_change_until_the_end(client, turns, clock):
    watch = client.watch_instance("i")
    step = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0)
    assert not step.done()

    await client.start_orchestration("i", "Sum")
    created = await turns.pass_time(step)
    assert (created.status, created.updated_at) == (InstanceStatus.RUNNING, created.created_at)

    step = asyncio.ensure_future(anext(watch))
    await turns.park("i", "unregistered", "no runtime has it")
    assert (await turns.pass_time(step)).parked.reason == "unregistered"

    step = asyncio.ensure_future(anext(watch))
    await turns.complete("i", "7")
    ended = await turns.pass_time(step)
    assert (ended.status, ended.output) == (InstanceStatus.COMPLETED, "7")
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_changes_between_two_steps_are_seen_as_one(client, turns, clock):
    await client.start_orchestration("i", "Sum")
    watch = client.watch_instance("i")
    await anext(watch)
    await turns.step("i", WaitCreated(event_id=1, at=clock.now(), name="go"))
    await client.raise_event("i", "go")
    await turns.complete("i", "7")

    assert [info.status async for info in watch] == [InstanceStatus.COMPLETED]


async def test_a_watch_of_what_has_ended_yields_it_once(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "7")

    assert [info.output async for info in client.watch_instance("i")] == ["7"]


class Deleted(DelegatingProvider):
    """Shows nothing as soon as it is told so."""

    gone = False

    async def read_instance(self, instance):
        return None if self.gone else await super().read_instance(instance)


async def test_a_watch_ends_when_the_instance_is_deleted(provider, client):
    deleted = Deleted(provider)
    await client.start_orchestration("i", "Sum")
    watch = Client(deleted).watch_instance("i")
    await anext(watch)
    deleted.gone = True

    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_a_watch_that_is_left_alone_leaves_nothing_behind(provider, client):
    await client.start_orchestration("i", "Sum")
    watch = client.watch_instance("i")
    await anext(watch)

    assert provider.notifier._instances == {}
    with pytest.raises(InvalidIdentifier):
        client.watch_instance("")


async def test_code_without_a_loop_watches_too():
    infos: list[perdure.InstanceInfo] = []

    def work(client: BlockingClient, begun: threading.Event) -> None:
        for info in client.watch_instance("i"):
            infos.append(info)
            begun.set()

    async with perdure.open_provider("memory://") as provider:
        client, begun = Client(provider), threading.Event()
        watching = asyncio.ensure_future(asyncio.to_thread(work, BlockingClient(provider), begun))
        await client.start_orchestration("i", wait)
        assert await asyncio.to_thread(begun.wait, 5)
        async with perdure.Runtime(provider, app):
            await client.raise_event("i", "go")
            await asyncio.wait_for(watching, 10)

    assert infos[0].status is InstanceStatus.RUNNING
    assert infos[-1].status is InstanceStatus.COMPLETED


app = Registry()


@app.orchestration
async def wait(ctx: OrchestrationContext) -> None:
    await ctx.schedule_wait("go")
