"""Payloads of a real file that are compressed or encrypted: what stands there, and who can read it."""

import json
import sqlite3
from contextlib import asynccontextmanager

import perdure
import pytest
from perdure.codecs import Encrypted, Zlib
from perdure.errors import OrchestrationFailed, StorageCorrupt

TEXT = "what the customer confided"
OLD, NEW = b"o" * 32, b"n" * 32

app = perdure.Registry()


@app.activity
async def look_up(text: str) -> str:
    return f"found {text}"


@app.activity
async def refuse(text: str) -> None:
    raise ValueError(f"refused {text}")


@app.orchestration
async def child(ctx: perdure.OrchestrationContext, text: str) -> str:
    return text


@app.orchestration
async def keep(ctx: perdure.OrchestrationContext, text: str) -> list[str]:
    """Stores its input in every way that there is."""
    ctx.set_status(f"status {text}")
    ctx.set_value("text", f"value {text}")
    found = await ctx.schedule_activity(look_up, text)
    try:
        await ctx.schedule_activity(refuse, text)
    except perdure.ActivityFailed as error:
        found += str(error)
    came = await ctx.schedule_wait("more", str)
    told = await ctx.schedule_sub_orchestration(child, text)
    ctx.set_status("done")
    return [found, came, told]


@app.orchestration
async def fail(ctx: perdure.OrchestrationContext, text: str) -> None:
    raise ValueError(text)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


@asynccontextmanager
async def opened(url, codec=(), *, works=True):
    """A client, beside a runtime that works."""
    async with perdure.open_provider(url, codec=codec) as provider:
        client = perdure.Client(provider)
        if not works:
            yield client
            return
        async with perdure.Runtime(provider, app):
            yield client


async def keep_until_it_waits(client):
    """Start the instance `kept`, and come back when it waits for its event."""
    await client.start_orchestration("kept", keep, TEXT)
    async for _ in client.watch_instance("kept"):
        if (await client.describe_instance("kept")).waits:
            return


def name_of(parameter):
    return "+".join(codec.name for codec in parameter)


@pytest.mark.parametrize(
    "codec", [[Encrypted({"old": OLD})], [Zlib(above=0), Encrypted({"old": OLD})]], ids=name_of
)
async def test_nothing_of_a_payload_stands_in_clear_in_the_file(url, tmp_path, codec):
    stored = b""
    async with opened(url, codec) as client:
        failed = await client.start_orchestration("failed", fail, TEXT)
        await client.raise_event_typed("early", "more", TEXT)
        await keep_until_it_waits(client)
        stored += b"".join(path.read_bytes() for path in tmp_path.iterdir())
        await client.raise_event_typed("kept", "more", TEXT)
        found, *_ = await client.get_handle("kept", keep).result(timeout=10)
        assert f"refused {TEXT}" in found
        with pytest.raises(OrchestrationFailed, match=TEXT):
            await failed.result(timeout=10)
    stored += b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"look_up" in stored  # names are stored in clear
    assert TEXT.encode() not in stored


async def test_keys_are_rotated_under_an_instance_that_waits(url):
    async with opened(url, Encrypted({"old": OLD})) as client:
        await keep_until_it_waits(client)
    async with opened(url, Encrypted({"new": NEW, "old": OLD})) as client:
        await client.raise_event_typed("kept", "more", "an event")
        output = await client.get_handle("kept", keep).result(timeout=10)
    assert output[1:] == ["an event", TEXT]
    async with opened(url, Encrypted({"new": NEW}), works=False) as client:
        assert await client.get_handle("kept", keep).result(timeout=10) == output


@pytest.mark.parametrize("keys", [{"new": NEW}, {"old": NEW}], ids=["missing", "wrong"])
async def test_an_instance_whose_key_is_not_there_is_parked_and_goes_on_with_it(url, keys, caplog):
    async with opened(url, Encrypted({"old": OLD})) as client:
        await keep_until_it_waits(client)
        await client.raise_event_typed("kept", "more", "an event")
    async with opened(url, Encrypted(keys)) as client:
        beside = await client.start_orchestration("beside", child, TEXT)
        assert await beside.result(timeout=10) == TEXT
        async for info in client.watch_instance("kept"):
            if info.parked is not None:
                break
        assert info.parked.reason == "undecodable"
        assert "codec 'aes-256-gcm' and the key 'old'" in info.parked.details
        assert "key 'old'" in info.damage  # its custom status
    assert len([r for r in caplog.records if r.name == "perdure.codecs"]) == 1
    async with opened(url, [Encrypted({"old": OLD} | keys | {"old": OLD})]) as client:
        output = await client.get_handle("kept", keep).result(timeout=10)
        assert output[1:] == ["an event", TEXT]


async def test_a_client_without_the_codec_says_which_one_it_lacks(url):
    async with opened(url, Encrypted({"old": OLD})) as client:
        handle = await client.start_orchestration("told", child, TEXT)
        await handle.result(timeout=10)
        plain = await client.get_orchestration_status("told")
    async with opened(url, works=False) as client:
        with pytest.raises(
            StorageCorrupt, match=r"'aes-256-gcm' and the key 'old'.*open the provider"
        ):
            await client.get_orchestration_status("told")
        with pytest.raises(StorageCorrupt, match="'aes-256-gcm' and the key 'old'"):
            await client.read_execution_history("told", 1)
        # A listing shows the others, and this one without its output.
        page = await client.list_instances()
        assert [(info.instance, info.output) for info in page] == [("told", None)]
        assert "the key 'old'" in page[0].damage
        assert "the key 'old'" in (await client.describe_instance("told")).damage
    assert json.loads(plain.output) == TEXT


async def test_what_was_stored_without_a_codec_stays_readable_with_one(url):
    async with opened(url) as client:
        await keep_until_it_waits(client)
    async with opened(url, [Zlib(), Encrypted({"old": OLD})]) as client:
        await client.raise_event_typed("kept", "more", "an event")
        output = await client.get_handle("kept", keep).result(timeout=10)
        assert output[1:] == ["an event", TEXT]


async def test_a_payload_that_was_changed_in_the_storage_is_refused(url, tmp_path):
    async with opened(url, Encrypted({"old": OLD})) as client:
        handle = await client.start_orchestration("told", child, TEXT)
        await handle.result(timeout=10)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        [(output,)] = connection.execute("SELECT output FROM perdure_executions")
        changed = output[:-1] + bytes([output[-1] ^ 1])
        connection.execute("UPDATE perdure_executions SET output = ?", (changed,))
    connection.close()
    async with opened(url, Encrypted({"old": OLD}), works=False) as client:
        with pytest.raises(StorageCorrupt, match="the key 'old'"):
            await client.get_orchestration_status("told")


async def test_large_payloads_are_stored_small_and_come_back(url, tmp_path):
    text = "the same again, " * 100_000
    async with opened(url, Zlib()) as client:
        handle = await client.start_orchestration("told", child, text)
        assert await handle.result(timeout=10) == text
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < len(text) // 4


def test_a_blocking_client_takes_a_codec(url):
    with perdure.BlockingClient.open(url, codec=Encrypted({"old": OLD})) as client:
        client.raise_event_typed("early", "more", TEXT)
