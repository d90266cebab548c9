"""Reading and awaiting values and custom statuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from perdure import (
    CapabilityMissing,
    Client,
    Completed,
    InstanceNotFound,
    InvalidInput,
    InvalidPayload,
    Running,
    ValueNotFound,
    WaitTimeout,
)
from perdure.contract import DelegatingProvider, InstanceValues, Provider
from perdure.errors import StorageCorrupt
from perdure.records.limits import VALUES


class Telling(DelegatingProvider):
    """A provider whose instances have the values and the custom status that a test gives."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.capabilities = frozenset({VALUES})
        self.values: dict[str, bytes] = {}
        self.status: tuple[bytes | None, int] = (None, 0)

    async def read_values(self, instance, *, keys=None):
        if await self.inner.read_instance(instance) is None:
            return None
        found = {key: data for key, data in self.values.items() if keys is None or key in keys}
        return InstanceValues(incarnation="x", last_commit=None, values=found)

    async def read_instance(self, instance):
        state = await super().read_instance(instance)
        if state is None:
            return None
        status, version = self.status
        return replace(state, custom_status=status, custom_status_version=version)

    def tell(self, status: bytes) -> None:
        self.status = (status, self.status[1] + 1)
        self.notifier.notify_instance("i")

    def set_value(self, key: str, data: bytes) -> None:
        self.values[key] = data
        self.notifier.notify_instance("i")


@pytest.fixture
def telling(provider) -> Telling:
    return Telling(provider)


@pytest.fixture
def reader(telling) -> Client:
    return Client(telling)


async def test_values_are_read_whole_and_by_key(client, reader, telling):
    await client.start_orchestration("i", "Sum")
    telling.values = {"done": b"3", "names": b'["a"]'}

    assert await reader.get_values("i") == {"done": "3", "names": '["a"]'}
    assert await reader.get_value("i", "done", int) == 3
    assert await reader.get_value("i", "names", list[str]) == ["a"]
    assert await reader.get_value("i", "other", int) is None


async def test_a_value_that_does_not_fit_its_type_is_refused(client, reader, telling):
    await client.start_orchestration("i", "Sum")
    telling.values = {"done": b'"three"'}

    with pytest.raises(InvalidPayload, match="value 'done' of instance 'i' does not fit int"):
        await reader.get_value("i", "done", int)


async def test_an_instance_that_does_not_exist_has_no_values(reader):
    with pytest.raises(InstanceNotFound):
        await reader.get_values("i")
    with pytest.raises(InstanceNotFound):
        await reader.get_value("i", "done", int)


@pytest.mark.parametrize("key", ["", "x" * 513, 7, None, "\ud800"])
async def test_a_key_that_no_value_can_have_is_refused(reader, key):
    with pytest.raises(InvalidInput, match="the key"):
        await reader.get_value("i", key, int)
    with pytest.raises(InvalidInput, match="the key"):
        await reader.wait_for_value("i", key, int)


async def test_a_wait_for_a_value_ends_when_it_is_set(client, reader, telling, turns):
    waiting = asyncio.ensure_future(reader.wait_for_value("i", "done", int))
    await asyncio.sleep(0)
    await client.start_orchestration("i", "Sum")
    await asyncio.sleep(0)
    assert not waiting.done()
    telling.set_value("done", b"3")

    assert await turns.pass_time(waiting) == 3


async def test_a_wait_for_a_value_ends_with_the_instance(client, reader, turns):
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(reader.wait_for_value("i", "done", int))
    await turns.complete("i", "1")

    with pytest.raises(ValueNotFound, match="ended without a value 'done'"):
        await turns.pass_time(waiting)


async def test_a_wait_for_a_value_has_a_limit(client, reader, turns):
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(reader.wait_for_value("i", "done", int, timedelta(seconds=3)))

    with pytest.raises(WaitTimeout, match="'i' did not set the value 'done' within 3 s"):
        await turns.pass_time(waiting)


async def test_the_custom_status_stands_beside_the_status(client, reader, telling, turns):
    await client.start_orchestration("i", "Sum")
    telling.tell(b'"packing"')

    running = Running(custom_status='"packing"', custom_status_version=1)
    assert await reader.get_orchestration_status("i") == running
    info = await reader.get_instance_info("i")
    assert (info.custom_status, info.custom_status_version) == ('"packing"', 1)
    await turns.complete("i", "1")
    assert await reader.get_orchestration_status("i") == Completed(
        output="1", custom_status='"packing"', custom_status_version=1
    )


async def test_a_result_is_read_beside_a_custom_status_that_cannot_be_decoded(
    client, reader, telling, turns
):
    handle = await reader.start_orchestration("i", "Sum")
    telling.tell(b"\xff")
    await turns.complete("i", "1")

    assert await handle.result(1) == 1
    assert await reader.wait_for_orchestration_typed("i", int, 1) == 1
    with pytest.raises(StorageCorrupt):
        await handle.wait(1)


async def test_a_wait_for_a_status_returns_what_the_caller_has_not_seen(
    client, reader, telling, turns
):
    waiting = asyncio.ensure_future(reader.wait_for_status_change("i"))
    await asyncio.sleep(0)
    await client.start_orchestration("i", "Sum")
    telling.tell(b'"packing"')
    assert (await turns.pass_time(waiting)).custom_status_version == 1
    assert (await reader.wait_for_status_change("i", 0)).custom_status == '"packing"'

    waiting = asyncio.ensure_future(reader.wait_for_status_change("i", 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    await turns.complete("i", "1")
    assert isinstance(await turns.pass_time(waiting), Completed)


async def test_a_wait_for_a_status_has_a_limit(client, reader, turns):
    await client.start_orchestration("i", "Sum")
    waiting = asyncio.ensure_future(reader.wait_for_status_change("i", 0, 3))

    with pytest.raises(WaitTimeout, match="did not change its custom status within 3 s"):
        await turns.pass_time(waiting)
    for version in (-1, "1", True):
        with pytest.raises(InvalidInput, match="seen_version"):
            await reader.wait_for_status_change("i", version)


async def test_values_need_the_capability(provider):
    plain = DelegatingProvider(provider)
    plain.capabilities = frozenset()
    client = Client(plain)
    for call in (
        client.get_values("i"),
        client.get_value("i", "done", int),
        client.wait_for_value("i", "done", int),
    ):
        with pytest.raises(CapabilityMissing, match="'values'"):
            await call
