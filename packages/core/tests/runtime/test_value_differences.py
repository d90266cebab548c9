"""A value that differs from the history is told once, and parks only where that is asked for."""

from __future__ import annotations

import logging

import perdure
import pytest
from perdure.observe import RuntimeEvent, ValueDiffered
from perdure.testing import NothingHappens, Stage


def deployment(prompt: str) -> perdure.Registry:
    app = perdure.Registry()

    @app.activity
    async def model(messages: list[str]) -> str:
        return messages[0]

    @app.orchestration
    async def chat(ctx: perdure.OrchestrationContext) -> list[str]:
        said = [prompt]
        for _ in range(3):
            said.append(await ctx.schedule_wait("user", str))
            said.append(await ctx.schedule_activity(model, said))
        return said[2::2]

    return app


class Observer:
    def __init__(self) -> None:
        self.saw: list[ValueDiffered] = []

    @perdure.hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        if isinstance(event, ValueDiffered):
            self.saw.append(event)


async def test_an_edited_prompt_is_told_once_and_the_instance_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    observer = Observer()
    options = perdure.RuntimeOptions(cache_size=0)
    async with Stage(deployment("secret"), plugins=[observer]) as stage:
        handle = await stage.client.start_orchestration("it", "chat")
        await handle.raise_event("user", '"one"')
        await stage.settle()
        caplog.set_level(logging.WARNING)
        await stage.restart(deployment("hidden"), options=options)
        await handle.raise_event("user", '"two"')
        await stage.settle()
        await handle.raise_event("user", '"three"')
        assert await handle.result() == ["secret", "hidden", "hidden"]

        assert stage.runtime.statistics.histories_read >= 2
    (told,) = observer.saw
    assert (told.instance, told.execution, told.orchestration) == ("it", 1, "chat")
    assert (told.kind, told.name, told.field) == ("ActivityScheduled", "model", "input")
    assert (told.event, told.path) == (4, "$[0]")
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == (
        "instance 'it': the code of 'chat' version 1.0.0 asks with another value than event 4 of"
        " the history has: input $[0] of ActivityScheduled 'model'; the recorded one counts"
    )


async def test_a_strict_runtime_parks_and_says_where() -> None:
    async with Stage(deployment("secret")) as stage:
        handle = await stage.client.start_orchestration("it", "chat")
        await handle.raise_event("user", '"one"')
        await stage.settle()
        strict = perdure.RuntimeOptions(compare="strict")
        await stage.restart(deployment("hidden"), options=strict)
        await handle.raise_event("user", '"two"')
        with pytest.raises(NothingHappens, match=r"differs in input at \$\[0\]"):
            await handle.wait()


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(perdure.InvalidInput, match='"strict", "warn" or "ignore"'):
        perdure.RuntimeOptions(compare="loose")  # pyright: ignore[reportArgumentType] # what a checker refuses
