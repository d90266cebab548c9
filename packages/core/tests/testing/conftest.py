"""Runs an orchestration for real until it waits for an event, and hands over its histories."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import perdure
import perdure.history
import pytest

Record = Callable[..., Awaitable[perdure.HistoryDocument]]


async def recorded(
    app: perdure.Registry, name: str, input: str | None = None, *, events: tuple[str, ...] = ()
) -> perdure.HistoryDocument:
    """The document of an instance that has begun to wait for `done`, or has ended."""
    async with perdure.open_provider("memory://") as provider:
        client = perdure.Client(provider)
        handle = await client.start_orchestration("order-1", name, input)
        for event in events:
            await handle.raise_event(event)
        async with perdure.Runtime(provider, app), asyncio.timeout(10):
            while True:
                document = await client.export_history("order-1")
                kinds = [event.kind for each in document.executions for event in each.events]
                waits = any(
                    isinstance(event, perdure.history.WaitCreated) and event.name == "done"
                    for each in document.executions
                    for event in each.events
                )
                if waits or "OrchestrationCompleted" in kinds or "OrchestrationFailed" in kinds:
                    return document
                await asyncio.sleep(0.001)


@pytest.fixture
def record() -> Record:
    """Runs an orchestration, and returns its document."""
    return recorded
