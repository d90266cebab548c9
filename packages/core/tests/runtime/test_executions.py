"""The cache of live executions: bounded, handed out once, and fitting only what was confirmed."""

from __future__ import annotations

from datetime import timedelta

import perdure
import pytest
from perdure.authoring.catalog import Catalog
from perdure.contract import InstanceState, InstanceStatus
from perdure.history import OrchestrationStarted
from perdure.replay.execution import Execution
from perdure.runtime.bytes_in_flight import BytesInFlight
from perdure.runtime.executions import ExecutionCache, LiveExecution

app = perdure.Registry()


@app.orchestration
async def waits(ctx: perdure.OrchestrationContext) -> None:
    await ctx.schedule_wait("go")


CATALOG = Catalog([app])


def live(instance: str = "a", *, execution: int = 1, commit: str | None = "c") -> LiveExecution:
    started = OrchestrationStarted(
        event_id=1,
        at=0,
        instance=instance,
        incarnation="first",
        execution=execution,
        name="waits",
        version="1.0.0",
        input="null",
        python="3.11",
        engine=1,
    )
    definition = CATALOG.orchestration("waits", None)
    begun = Execution.begin(started, definition, CATALOG, cleanup_timeout=timedelta(minutes=5))
    return LiveExecution(begun, commit)


def state(**fields) -> InstanceState:
    given = {
        "instance": "a",
        "incarnation": "first",
        "name": "waits",
        "version": "1.0.0",
        "status": InstanceStatus.RUNNING,
        "execution": 1,
        "last_event": 2,
        "last_commit": "c",
        "engine": 1,
        "created_at": 0,
        "updated_at": 0,
        "output": None,
    }
    return InstanceState(**{**given, **fields})


def cache_of(limit: int) -> ExecutionCache:
    return ExecutionCache(limit, BytesInFlight(1_000_000))


def test_what_is_taken_is_gone() -> None:
    cache, kept = cache_of(2), live()
    cache.put("a", kept)

    assert cache.take("a") is kept
    assert cache.take("a") is None
    kept.execution.discard()


def test_beyond_the_limit_the_one_that_was_used_longest_ago_goes() -> None:
    cache = cache_of(2)
    executions = {name: live(name) for name in "abc"}
    cache.put("a", executions["a"])
    cache.put("b", executions["b"])
    used = cache.take("a")
    assert used is not None
    cache.put("a", used)

    cache.put("c", executions["c"])

    assert cache.too_many() is executions["b"].execution
    assert cache.too_many() is None
    assert len(cache) == 2
    for each in executions.values():
        each.execution.discard()


def test_a_cache_without_room_gives_back_what_is_put_in() -> None:
    cache, kept = cache_of(0), live()

    cache.put("a", kept)

    assert cache.too_many() is kept.execution
    assert len(cache) == 0
    kept.execution.discard()


def test_clearing_hands_out_everything() -> None:
    cache = cache_of(5)
    kept = [live(name) for name in "ab"]
    for one in kept:
        cache.put(one.execution.started.instance, one)

    assert cache.clear() == [one.execution for one in kept]
    assert len(cache) == 0
    for one in kept:
        one.execution.discard()


@pytest.mark.parametrize(
    ("changed", "fits"),
    [
        ({}, True),
        ({"last_commit": "of another process"}, False),
        ({"last_commit": None}, False),
        ({"execution": 2}, False),
        ({"incarnation": "second"}, False),
        ({"last_event": 9}, True),
    ],
)
def test_it_fits_only_the_commit_that_confirmed_it(changed, fits) -> None:
    kept = live()

    assert kept.fits(state(**changed)) is fits
    kept.execution.discard()
