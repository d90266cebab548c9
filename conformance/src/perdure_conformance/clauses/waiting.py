"""WAIT-1, 2 and 5: how long waits last. What ends them early is in `waking`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from perdure.contract import (
    ActivityLease,
    CancellationWait,
    ChangeWait,
    ParkedMark,
    TurnRelease,
    WorkWait,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.spans import INSTANT
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import SERVES, WORK, work

MINUTE = timedelta(minutes=1)
STEP = timedelta(milliseconds=250)
SHORT = 0.002
"""Real seconds that other threads of a provider get between two steps of the clock."""
CALM = 0.02
"""Real seconds after which a wait that returns at once has returned."""
AT_THE_END = 20.0
"""Real seconds in which a wait that is over by the clock has to return: it may read the storage first."""
TIMEOUTS = (
    timedelta(0),
    timedelta(milliseconds=20, microseconds=1),
    MINUTE,
    timedelta(minutes=10),
)


async def ends(bench: Bench, wait: Awaitable[object], *, within: timedelta) -> bool:
    """Whether a wait ends before the clock has moved so far; it is cancelled if not."""
    task = asyncio.ensure_future(wait)
    moved = timedelta(0)
    try:
        while moved < within:
            for _ in range(5):
                await asyncio.sleep(0)
            done, _ = await asyncio.wait({task}, timeout=SHORT)
            if done:
                task.result()
                return True
            bench.advance(STEP)
            moved += STEP
        done, _ = await asyncio.wait({task}, timeout=AT_THE_END)
        return bool(done)
    finally:
        await _given_up(task)


async def ends_after(
    bench: Bench, wait: Awaitable[object], change: Callable[[], Awaitable[object]]
) -> bool:
    """Whether a wait that has begun ends well before its timeout, once something changed."""
    task = asyncio.ensure_future(wait)
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.wait({task}, timeout=SHORT)
    woken_for_nothing = task.done()
    await change()
    # That is allowed, and then this wait shows nothing.
    return woken_for_nothing or await ends(bench, task, within=MINUTE / 2)


async def ends_in_time(bench: Bench, wait: Awaitable[object], timeout: timedelta) -> bool:
    """Whether a wait has ended when the clock has moved by its timeout, in some great steps."""
    task = asyncio.ensure_future(wait)
    try:
        for step in (timeout / 2, timeout - timeout / 2 - INSTANT, INSTANT):
            await asyncio.wait({task}, timeout=SHORT)
            bench.advance(max(step, timedelta(0)))
        done, _ = await asyncio.wait({task}, timeout=AT_THE_END)
        for each in done:
            each.result()
        return bool(done)
    finally:
        await _given_up(task)


async def lasts(wait: Callable[[], Awaitable[object]]) -> bool:
    """Whether one of three waits that follow each other lasts while the clock stands still."""
    for _ in range(3):
        task = asyncio.ensure_future(wait())
        done, _ = await asyncio.wait({task}, timeout=CALM)
        await _given_up(task)
        if not done:
            return True
    return False


async def _given_up(task: asyncio.Future[object]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@check("WAIT-1")
async def a_wait_for_work_ends(bench: Bench) -> None:
    """`wait_for_work` returns after its timeout at the latest, by the clock, and lasts where there is no work."""
    provider = bench.provider
    for timeout in TIMEOUTS:
        wait = WorkWait(timeout=timeout, serves=SERVES, activity_names=WORK)
        ended = await ends_in_time(bench, provider.wait_for_work(wait), timeout)
        expect(ended, f"wait_for_work still waits after its timeout of {timeout}")
        if timeout:
            expect(
                await lasts(lambda wait=wait: provider.wait_for_work(wait)),
                f"wait_for_work with a timeout of {timeout} returns at once, again and again,"
                " where nothing is stored",
            )


@check("WAIT-2")
async def a_wait_for_a_change_ends(bench: Bench) -> None:
    """`wait_for_change` returns after its timeout at the latest, by the clock, and lasts where nothing changed."""
    provider = bench.provider
    turn = await bench.started("parked")
    mark = ParkedMark(reason="stalled", details="stalled")
    await provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
    parked = (await bench.state("parked")).parked
    for timeout in TIMEOUTS:
        for what, wait in (
            ("that does not exist", ChangeWait(instance="absent", timeout=timeout, exists=False)),
            ("that is parked", ChangeWait(instance="parked", timeout=timeout, parked=parked)),
        ):
            ended = await ends_in_time(bench, provider.wait_for_change(wait), timeout)
            expect(ended, f"wait_for_change still waits after its timeout of {timeout}")
            if timeout:
                expect(
                    await lasts(lambda wait=wait: provider.wait_for_change(wait)),
                    f"wait_for_change with a timeout of {timeout} returns at once, again and"
                    f" again, for an instance {what} and did not change",
                )


@check("WAIT-5")
async def a_wait_for_cancellations_ends(bench: Bench) -> None:
    """`wait_for_cancellation` returns after its timeout at the latest, names no lease that stands, extends none, and lasts where none is gone."""
    await bench.with_activities(work("live"), work("expired"))
    leases = {each.id: each.lease for each in await bench.lease_work()}
    await bench.provider.renew_activities([leases["live"]], lease_for=timedelta(minutes=3))
    wait = CancellationWait(leases=tuple(leases.values()), timeout=MINUTE)
    found: list[frozenset[ActivityLease]] = []

    async def waiting() -> None:
        found.append(await bench.provider.wait_for_cancellation(wait))

    expect(
        await lasts(lambda: bench.provider.wait_for_cancellation(wait)),
        "wait_for_cancellation returns at once, again and again, though no lease is gone",
    )
    ended = await ends(bench, waiting(), within=MINUTE + STEP)
    expect(ended, "wait_for_cancellation still waits after its timeout of a minute")
    expect_equal(found, [frozenset()], "leases named as gone, of two that stand")
    left = [each.id for each in await bench.lease_work(token="other")]
    expect_equal(left, ["expired"], "leases that had expired after the wait")
