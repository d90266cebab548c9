"""News between processes: what is told, and what a process may keep to itself."""

import asyncio
from datetime import timedelta

import pytest
from perdure.contract import ChangeWait, Message, MessageKind, NewInstance
from perdure.providers.loader import open_provider
from perdure_postgres import _signals


def new_instance(name):
    start = Message(id="start", instance=name, incarnation=name, kind=MessageKind.START, data=b"{}")
    return NewInstance(instance=name, incarnation=name, name="order", start=start)


def wait_for(provider, name):
    wait = ChangeWait(instance=name, timeout=timedelta(seconds=30), exists=False)
    return asyncio.ensure_future(provider.wait_for_change(wait))


class Held:
    """Keeps what other processes send from the listener of a provider object."""

    def __init__(self, provider):
        self._post = provider._storage.if_open.signals.post
        self._texts = []
        self._is_any = asyncio.Event()
        self._post.receive = self._keep

    def _keep(self, text):
        self._texts.append(text)
        self._is_any.set()

    async def until_any(self):
        await self._is_any.wait()

    def let_go(self):
        del self._post.receive
        for text in self._texts:
            self._post.receive(text)


@pytest.mark.slow
async def test_what_a_process_kept_to_itself_reaches_one_that_began_to_listen(url, monkeypatch):
    monkeypatch.setattr(_signals, "_FOR_ANSWERS", 0)
    # Provider objects of one process share what listens only if they connect in the same way.
    other = f"{url}&application_name=other"
    async with asyncio.timeout(30), open_provider(url) as here, open_provider(other) as there:
        early = wait_for(here, "early")
        await here.create_instance(new_instance("early"))
        await early
        while not here._storage.if_open.signals.post.is_alone:
            await here.read_instance("early")
        told = []
        here.database.before_statement = told.append
        held = Held(here)

        waiting = wait_for(there, "order")
        await held.until_any()
        if looks := there._storage.if_open.waits._looks:
            await asyncio.wait(looks)
        await here.create_instance(new_instance("order"))
        assert not any("pg_notify" in statement for statement in told)
        held.let_go()

        await waiting


@pytest.mark.slow
async def test_provider_objects_of_one_process_share_a_connection_and_hear_of_each_other(
    url, monkeypatch
):
    monkeypatch.setattr(_signals, "_FOR_ANSWERS", 0)
    async with asyncio.timeout(30), open_provider(url) as here, open_provider(url) as there:
        waiting = wait_for(here, "order")
        while not here._storage.if_open.signals.post.is_alone:
            await here.read_instance("early")
        await there.create_instance(new_instance("order"))
        await waiting

        assert here._storage.if_open.signals.post is there._storage.if_open.signals.post
    again = open_provider(url)
    async with asyncio.timeout(30), again as provider:
        waiting = wait_for(provider, "second")
        await provider.create_instance(new_instance("second"))
        await waiting
