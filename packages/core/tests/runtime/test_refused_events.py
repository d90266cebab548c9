"""An event of a wrong shape is told in the log and to observers, once; the instance goes on."""

from __future__ import annotations

import logging

import perdure
import pytest
from perdure.observe import EventRefused, RuntimeEvent

app = perdure.Registry()


@app.orchestration
async def approve(ctx: perdure.OrchestrationContext) -> bool:
    return await ctx.schedule_wait("decision", bool)


class Observer:
    def __init__(self) -> None:
        self.saw: list[EventRefused] = []

    @perdure.hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        if isinstance(event, EventRefused):
            self.saw.append(event)


async def test_a_bad_event_is_told_once_and_the_next_one_counts(
    provider: perdure.Provider, eventually, caplog: pytest.LogCaptureFixture
) -> None:
    observer, client = Observer(), perdure.Client(provider)
    caplog.set_level(logging.WARNING, "perdure")
    handle = await client.start_orchestration("it", approve)
    await handle.raise_event("decision", '{"ok": "secret"}', event_id="hook-1")
    for data in (None, "true"):
        # Rebuilt by the second runtime, which has nothing to tell.
        async with perdure.Runtime(provider, app, plugins=[observer]) as runtime:
            if data is not None:
                await handle.raise_event("decision", data)
                assert await handle.result(timeout=5) is True
            else:
                await eventually(lambda: runtime.statistics.turns_committed)  # awaited here
            assert runtime.statistics.turns_committed == 1

    (told,) = observer.saw
    assert (told.instance, told.name, told.event_id) == ("it", "decision", "hook-1")
    assert told.reason == "Input should be a valid boolean"
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == (
        "instance 'it' waits on: event 'decision', raised with the id 'hook-1', does not fit its"
        " wait: Input should be a valid boolean"
    )
    events = [event.kind for event in await client.read_execution_history("it", 1)]
    assert events[2:4] == ["EventRaised", "EventRefused"]
