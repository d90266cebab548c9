"""Runs an orchestration for real until it waits for an event, and hands over its histories."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import perdure
import pytest
from perdure.history import WaitCreated
from perdure.testing import Stage

Record = Callable[..., Awaitable[perdure.HistoryDocument]]


async def recorded(
    app: perdure.Registry, name: str, input: str | None = None, *, events: tuple[str, ...] = ()
) -> perdure.HistoryDocument:
    """The document of an instance that has begun to wait for `done`, or has ended."""
    async with Stage(app) as stage:
        handle = await stage.client.start_orchestration("order-1", name, input)
        await stage.settle()  # what comes first must not depend on the event loop
        for event in events:
            await handle.raise_event(event)

        async def waits_or_has_ended() -> bool:
            found = await stage.history("order-1")
            waits = any(isinstance(each, WaitCreated) and each.name == "done" for each in found)
            return waits or not isinstance(await handle.status(), perdure.Running)

        await stage.until(waits_or_has_ended)
        return await stage.client.export_history("order-1")


@pytest.fixture
def record() -> Record:
    """Runs an orchestration, and returns its document."""
    return recorded
