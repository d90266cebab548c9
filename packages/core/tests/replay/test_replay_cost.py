"""What a replay spends on each event, in counts that are the same on every machine."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from datetime import timedelta

import perdure
import pytest
from perdure.authoring.catalog import Catalog
from perdure.history import (
    ActivityCompleted,
    ActivityScheduled,
    Event,
    OrchestrationStarted,
    WaitCreated,
)
from perdure.replay.execution import Execution
from perdure.replay.loop import OrchestrationLoop

app = perdure.Registry()


@app.activity
async def echo(number: int) -> int:
    return number


@app.orchestration
async def chain(ctx: perdure.OrchestrationContext, length: int) -> int:
    for number in range(length):
        await ctx.schedule_activity(echo, number)
    return await ctx.schedule_wait("go", int)


CATALOG = Catalog([app])
LIMIT = timedelta(minutes=5)


def history(length: int) -> list[Event]:
    events: list[Event] = [
        OrchestrationStarted(
            event_id=1,
            at=0,
            instance="i",
            incarnation="one",
            execution=1,
            name="chain",
            version="1.0.0",
            input=str(length),
            python="3.11",
            engine=1,
        )
    ]
    for number in range(length):
        scheduled = 2 + 2 * number
        events += [
            ActivityScheduled(event_id=scheduled, at=0, name="echo", input=str(number)),
            ActivityCompleted(
                event_id=scheduled + 1, at=0, scheduled=scheduled, result=str(number)
            ),
        ]
    return [*events, WaitCreated(event_id=2 * length + 2, at=0, name="go")]


def rebuild(events: Sequence[Event]) -> None:
    definition = CATALOG.orchestration("chain", None)
    assert definition is not None
    Execution.rebuild(events, definition, CATALOG, cleanup_timeout=LIMIT).discard()


def calls_of(length: int) -> int:
    """How many functions written in Python a replay calls."""
    events, calls = history(length), 0

    def counted(frame: object, event: str, arg: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(counted)
    try:
        rebuild(events)
    finally:
        sys.setprofile(None)
    return calls


def test_a_step_calls_few_functions() -> None:
    calls_of(1)  # makes what is made at the first use

    # 61 on 3.11; later versions inline comprehensions, and call fewer.
    assert 30 < (calls_of(120) - calls_of(20)) / 100 < 68


def test_a_slice_enters_the_loop_of_the_orchestration_once(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, asked = 0, 0
    enter = OrchestrationLoop.enter

    def counted(loop: OrchestrationLoop) -> None:
        nonlocal entered
        entered += 1
        enter(loop)

    def ends() -> bool:
        nonlocal asked
        asked += 1
        return asked % 25 == 0

    monkeypatch.setattr(OrchestrationLoop, "enter", counted)
    definition = CATALOG.orchestration("chain", None)
    assert definition is not None
    steps: Generator[None, None, Execution] = Execution.rebuilding(
        history(100), definition, CATALOG, cleanup_timeout=LIMIT, step_ends=ends
    )
    slices = 1
    while True:
        try:
            next(steps)
        except StopIteration as done:
            done.value.discard()
            break
        slices += 1

    # Each of the 101 incoming events is a chance to end the slice; discarding enters once more.
    assert asked == 101
    assert slices == 5
    assert entered == slices + 1
