"""What a provider object holds while it is open: who gets it, and when it closes."""

from __future__ import annotations

import asyncio
import os

import pytest
from perdure.contract import OpenStorage
from perdure.errors import StorageClosed, StorageFailed


class Pool:
    """Connections that close once `calls_ended` is set."""

    def __init__(self) -> None:
        self.calls_ended = asyncio.Event()
        self.is_closing = asyncio.Event()
        self.closed = asyncio.Event()

    async def close(self) -> None:
        self.is_closing.set()
        await self.calls_ended.wait()
        self.closed.set()


async def opened(pool: Pool) -> OpenStorage[Pool]:
    async def connect() -> Pool:
        return pool

    storage: OpenStorage[Pool] = OpenStorage("acme://orders")
    await storage.open(connect)
    return storage


async def test_a_call_gets_what_is_open_until_it_closes() -> None:
    pool = Pool()
    pool.calls_ended.set()
    storage = await opened(pool)

    assert storage.get("send") is storage.if_open is pool
    await storage.close()
    assert pool.closed.is_set()
    with pytest.raises(StorageClosed, match="the provider of acme://orders is not open") as refused:
        storage.get("send")
    assert refused.value.operation == "send"
    await storage.close()


async def test_a_second_opening_is_refused_before_it_connects() -> None:
    storage = await opened(Pool())
    connections: list[Pool] = []

    async def connect() -> Pool:
        connections.append(Pool())
        return connections[-1]

    with pytest.raises(StorageFailed, match="open already"):
        await storage.open(connect)
    assert connections == []


async def test_an_opening_that_failed_leaves_nothing_open() -> None:
    async def connect() -> Pool:
        raise StorageFailed("no route to host", operation="open")

    storage: OpenStorage[Pool] = OpenStorage("acme://orders")
    with pytest.raises(StorageFailed, match="no route"):
        await storage.open(connect)

    assert storage.if_open is None


async def test_a_cancelled_close_refuses_calls_at_once_and_goes_on() -> None:
    pool = Pool()
    storage = await opened(pool)
    closing = asyncio.create_task(storage.close())
    await pool.is_closing.wait()

    with pytest.raises(StorageClosed):
        storage.get("send")
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    pool.calls_ended.set()
    await pool.closed.wait()


async def test_a_fork_gets_nothing_and_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool()
    storage = await opened(pool)
    monkeypatch.setattr(os, "getpid", lambda: -1)

    with pytest.raises(StorageClosed, match="was opened before this process was forked"):
        storage.get("send")
    await storage.close()
    assert not pool.is_closing.is_set()
