"""Connections that break in the middle: the server ends them, and the provider goes on."""

import asyncio

import psycopg
import pytest
from perdure.contract import Message, MessageKind, NewInstance, ProviderUrl
from perdure.providers.loader import open_provider
from perdure_postgres import PostgresOptions

KILL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = %s AND pid <> pg_backend_pid()
"""


def new_instance(name):
    start = Message(id="start", instance=name, incarnation=name, kind=MessageKind.START, data=b"{}")
    return NewInstance(instance=name, incarnation=name, name="order", start=start)


@pytest.mark.slow
async def test_no_call_fails_while_the_server_kills_the_connections_of_the_provider(url):
    name = f"killed-{url.rpartition('-')[2]}"
    mine = f"{url}&application_name={name}"
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    async with open_provider(mine) as provider:
        for each in range(5):
            names = [f"order-{each}-{n}" for n in range(20)]
            calls = [
                asyncio.ensure_future(provider.create_instance(new_instance(n))) for n in names
            ]
            await asyncio.sleep(0.002 * each)
            async with await psycopg.AsyncConnection.connect(**conninfo, autocommit=True) as killer:
                await killer.execute(KILL, (name,))
            await asyncio.gather(*calls)

        for each in range(5):
            for n in range(20):
                assert await provider.read_instance(f"order-{each}-{n}") is not None


@pytest.mark.slow
async def test_two_provider_objects_hear_of_each_other_after_a_connection_broke(url):
    name = f"heard-{url.rpartition('-')[2]}"
    conninfo = PostgresOptions.from_url(ProviderUrl.parse(url)).conninfo
    mine = f"{url}&application_name={name}"
    async with open_provider(mine) as here, open_provider(url) as there:
        from datetime import timedelta

        from perdure.contract import ChangeWait

        wait = ChangeWait(instance="order", timeout=timedelta(seconds=30), exists=False)
        waiting = asyncio.ensure_future(here.wait_for_change(wait))
        await asyncio.sleep(0.2)
        async with await psycopg.AsyncConnection.connect(**conninfo, autocommit=True) as killer:
            await killer.execute(KILL, (name,))
        await there.create_instance(new_instance("order"))

        async with asyncio.timeout(10):
            await waiting
