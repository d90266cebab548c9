"""The page of queues and health."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import perdure
from perdure_console.web import application


async def test_the_page_says_for_how_long_the_oldest_waits() -> None:
    clock = perdure.ManualClock()
    async with perdure.open_provider("memory://", clock=clock) as provider:
        client = perdure.Client(provider)
        transport = httpx2.ASGITransport(application(provider), client=("127.0.0.1", 50000))
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as browser:
            idle = (await browser.get("/health")).text
            await client.start_orchestration("order-1", "pay")
            clock.advance(timedelta(hours=3, minutes=20))
            await client.start_orchestration("order-2", "pay")
            busy = (await browser.get("/health")).text

    assert "<b>0</b><span>messages wait</span>" in idle
    assert "<b>2</b><span>messages wait, the oldest for 3h 20m</span>" in busy
    assert "<b>0</b><span>activities wait</span>" in busy
