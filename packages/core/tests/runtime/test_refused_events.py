"""An event of a wrong shape is told in the log and to observers, once; the instance goes on."""

from __future__ import annotations

import logging

import perdure
import pytest
from perdure.observe import EventRefused, RuntimeEvent
from perdure.testing import Stage

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
    url, caplog: pytest.LogCaptureFixture
) -> None:
    observer = Observer()
    caplog.set_level(logging.WARNING, "perdure")
    async with Stage(app, plugins=[observer], url=url) as stage:
        handle = await stage.client.start_orchestration("it", approve)
        await handle.raise_event("decision", '{"ok": "secret"}', event_id="hook-1")
        await stage.settle()
        await stage.restart()  # the second runtime rebuilds it, and has nothing to tell
        await handle.raise_event("decision", "true")
        assert await handle.result() is True
        assert stage.runtime.statistics.turns_committed == 1
        events = [event.kind for event in await stage.history("it")]

    (told,) = observer.saw
    assert (told.instance, told.name, told.event_id) == ("it", "decision", "hook-1")
    assert told.reason == "Input should be a valid boolean"
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == (
        "instance 'it' waits on: event 'decision', raised with the id 'hook-1', does not fit its"
        " wait: Input should be a valid boolean"
    )
    assert events[2:4] == ["EventRaised", "EventRefused"]
