"""Payload codecs: compression, encryption, and another key under a running instance."""

import asyncio
import os
import tempfile
from pathlib import Path

import perdure
from perdure.codecs import Encrypted, Zlib

app = perdure.Registry()


@app.orchestration
async def open_account(ctx: perdure.OrchestrationContext, customer: str) -> str:
    approval = await ctx.schedule_wait("approval", str)
    return f"{customer}: {approval}"


async def main(url: str, file: Path) -> None:
    key = os.urandom(32)  # in production: from your key management, the same in every process

    codec = [Zlib(), Encrypted({"2026-11": key})]
    async with (
        perdure.open_provider(url, codec=codec) as provider,
        perdure.Runtime(provider, app),
    ):
        client = perdure.Client(provider)
        await client.start_orchestration("account-1", open_account, "Ada Lovelace")

    new_key = os.urandom(32)
    codec = [Zlib(), Encrypted({"2026-12": new_key, "2026-11": key})]
    async with (
        perdure.open_provider(url, codec=codec) as provider,
        perdure.Runtime(provider, app),
    ):
        account = perdure.Client(provider).get_handle("account-1", open_account)
        await account.raise_event_typed("approval", "granted")
        assert await account.result(timeout=10) == "Ada Lovelace: granted"

    assert b"account-1" in file.read_bytes()
    assert b"Lovelace" not in file.read_bytes()


with tempfile.TemporaryDirectory() as directory:
    store = Path(directory, "accounts.db")
    asyncio.run(main(f"sqlite:///{store}", store))
