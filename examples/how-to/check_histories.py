"""New code against old histories: replay every running instance of a copy of the database."""

import asyncio
import sqlite3
from pathlib import Path

import perdure


def deployment(*, edited: bool) -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def charge(cents: int) -> str:
        return f"charged {cents}"

    @app.orchestration
    async def pay(ctx: perdure.OrchestrationContext, cents: int) -> str:
        if edited:
            await asyncio.sleep(1)
        receipt = await ctx.schedule_activity(charge, cents)
        await ctx.schedule_wait("shipped")
        return receipt

    return app


async def disagreements(url: str, app: perdure.Registry) -> dict[str, str]:
    """Replay the running instances of a *copy*, without running an activity; say who disagrees."""
    no_activities = perdure.RuntimeOptions(tags=frozenset({"check"}), compare="strict")
    found: dict[str, str] = {}
    async with perdure.open_provider(url) as provider:
        client = perdure.Client(provider)
        running = await client.list_instances_by_status("Running")
        lengths = {each: await length(client, each) for each in running}
        for instance in running:
            await client.raise_event(instance, "check")  # a message makes it run
        async with perdure.Runtime(provider, app, options=no_activities):
            for instance in running:
                try:
                    async with asyncio.timeout(30):
                        while await length(client, instance) == lengths[instance]:
                            parked = (await client.get_instance_info(instance)).parked
                            if parked is not None and parked.reason != "unregistered":
                                found[instance] = parked.details
                                break
                            await asyncio.sleep(0.01)
                except TimeoutError:
                    found[instance] = "it was not replayed; is its version registered?"
    return found


async def length(client: perdure.Client, instance: str) -> int:
    execution = (await client.get_instance_info(instance)).execution
    return (await client.get_execution_info(instance, execution)).event_count


def copy(source: str, target: str) -> None:
    with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
        old.backup(new)
    old.close()
    new.close()


async def main() -> None:
    async with perdure.open_provider("sqlite:///live.db") as provider:
        client = perdure.Client(provider)
        await client.start_orchestration("pay-1", "pay", "500")
        async with perdure.Runtime(provider, deployment(edited=False)):
            while await length(client, "pay-1") < 4:
                await asyncio.sleep(0.01)

    for edited in (False, True):
        Path("copy.db").unlink(missing_ok=True)
        copy("live.db", "copy.db")
        found = await disagreements("sqlite:///copy.db", deployment(edited=edited))
        assert list(found) == (["pay-1"] if edited else []), found


asyncio.run(main())
