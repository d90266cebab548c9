"""A loop that stands still is told in the log, with what ran in it. These tests use real time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import timedelta

import perdure
import perdure.runtime.stall_watch
import pytest
from perdure import RuntimeOptions
from perdure.runtime.stall_watch import StallWatch, Standstill
from perdure.testing import Stage

LEASE = timedelta(milliseconds=600)
BLOCKED = 0.4
"""More than a third of the lease."""
SHORT = RuntimeOptions(turn_lease=LEASE, activity_lease=LEASE)


class Blocking:
    """Activities and orchestrations that keep the event loop for longer than a third of a lease."""

    def __init__(self, was_seen: Callable[[], bool]) -> None:
        self.app = perdure.Registry()
        self.runs = 0

        @self.app.activity
        async def blocks() -> int:
            self.runs += 1
            keep_the_loop(was_seen)
            return self.runs

        @self.app.activity
        def blocks_in_a_thread() -> int:
            time.sleep(BLOCKED)
            return 1

        @self.app.orchestration
        async def flow(ctx: perdure.OrchestrationContext, activity: str) -> int:
            return await ctx.schedule_activity(activity, result_type=int)

        @self.app.orchestration
        async def computes(ctx: perdure.OrchestrationContext) -> int:
            keep_the_loop(was_seen)
            return 1

        self.flow, self.computes = flow, computes


def keep_the_loop(was_seen: Callable[[], bool]) -> None:
    """Until the watch has seen it, however late its thread gets a processor, and then for its limit."""
    given_up = time.perf_counter() + 30
    while not was_seen() and time.perf_counter() < given_up:
        time.sleep(0.01)
    end = time.perf_counter() + BLOCKED
    while time.perf_counter() < end:
        pass


@pytest.fixture
def was_seen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Whether a watch has looked at a loop that stood still."""
    seen: list[Standstill] = []
    see = StallWatch._see

    def noted_see(watch: StallWatch, heartbeat: float, late: float) -> Standstill:
        standstill = see(watch, heartbeat, late)
        if standstill.where is not None:
            seen.append(standstill)
        return standstill

    monkeypatch.setattr(StallWatch, "_see", noted_see)
    return lambda: bool(seen)


@pytest.fixture
def blocking(was_seen: Callable[[], bool]) -> Blocking:
    return Blocking(was_seen)


def stalls(caplog) -> list[logging.LogRecord]:
    """What was told of standstills; a busy machine may add some of the whole process."""
    told = [record for record in caplog.records if "stood still" in record.message]
    return [record for record in told if "ran in it" in record.message]


@pytest.mark.slow
async def test_an_activity_that_blocks_the_loop_is_named_and_its_result_counts(
    url, blocking, caplog
) -> None:
    async with Stage(blocking.app, options=SHORT, url=url) as stage:
        handle = await stage.client.start_orchestration("i", blocking.flow, "blocks")

        assert await handle.result() == 1
        (record,) = stalls(caplog)

    assert record.name == "perdure.runtime"
    assert record.levelno == logging.WARNING
    assert "activity 'blocks' of instance 'i' ran in it" in record.message
    assert f"{__file__}:" in record.message
    assert " in keep_the_loop;" in record.message
    assert (record.perdure_instance, record.perdure_activity) == ("i", "blocks")


@pytest.mark.slow
async def test_an_orchestration_that_blocks_the_loop_is_named_with_the_innermost_line(
    url, blocking, caplog
) -> None:
    async with Stage(blocking.app, options=SHORT, url=url) as stage:
        handle = await stage.client.start_orchestration("i", blocking.computes)

        assert await handle.result() == 1
        (record,) = stalls(caplog)

    assert "orchestration 'computes' of instance 'i' ran in it" in record.message
    assert " in keep_the_loop;" in record.message


@pytest.mark.slow
async def test_other_code_that_blocks_the_loop_is_told_by_its_line(was_seen, caplog) -> None:
    beat = asyncio.Event()
    watch = StallWatch(SHORT, lambda: not beat.set())

    watch.arm()
    keep_the_loop(was_seen)
    await beat.wait()
    watch.close()

    (record,) = stalls(caplog)
    assert "other code ran in it, at " in record.message
    assert " in keep_the_loop;" in record.message


@pytest.mark.slow
async def test_a_function_in_a_thread_is_no_standstill(url, blocking, caplog) -> None:
    async with Stage(blocking.app, options=SHORT, url=url) as stage:
        handle = await stage.client.start_orchestration("i", blocking.flow, "blocks_in_a_thread")

        assert await handle.result() == 1

    assert stalls(caplog) == []


async def test_nothing_is_watched_while_nothing_is_under_way() -> None:
    beat = asyncio.Event()
    watch = StallWatch(SHORT, lambda: bool(beat.set()))

    watch.arm()
    assert watch.is_armed
    await beat.wait()
    assert not watch.is_armed
    watch.close()


@pytest.mark.slow
async def test_a_loop_that_does_not_come_back_is_told_while_it_stands_still(
    caplog, monkeypatch
) -> None:
    monkeypatch.setattr(perdure.runtime.stall_watch, "_NOT_COMING_BACK", 0.0)
    watch = StallWatch(SHORT, lambda: True)

    watch.arm()
    keep_the_loop(lambda: bool(stalls(caplog)))
    told = stalls(caplog)
    await asyncio.sleep(0.1)
    watch.close()

    assert len(told) == 1
    assert stalls(caplog) == told


@pytest.mark.slow
def test_a_loop_that_was_left_does_not_stand_still(caplog, monkeypatch) -> None:
    monkeypatch.setattr(perdure.runtime.stall_watch, "_NOT_COMING_BACK", 0.0)
    watch = StallWatch(SHORT, lambda: True)

    async def leave() -> None:
        watch.arm()

    asyncio.run(leave())
    time.sleep(BLOCKED)
    watch.close()

    assert caplog.records == []
