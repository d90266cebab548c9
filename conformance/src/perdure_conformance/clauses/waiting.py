"""WAIT: waiting for work and for changes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from perdure.contract import (
    ActivityLease,
    ActivityRelease,
    CancellationWait,
    ChangeWait,
    ExecutionEnd,
    InstanceStatus,
    ParkedMark,
    Provider,
    TurnRelease,
    WorkWait,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import LEASE, SERVES, WORK, event, work

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED)
MINUTE = timedelta(minutes=1)
STEP = timedelta(milliseconds=250)
SHORT = 0.002
"""Real seconds that other threads of a provider get between two steps of the clock."""
AT_THE_END = 20.0
"""Real seconds in which a wait that is over by the clock has to return: it may read the storage first."""


async def ends(bench: Bench, wait: Awaitable[None], *, within: timedelta) -> bool:
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
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def ends_after(
    bench: Bench, wait: Awaitable[None], change: Callable[[], Awaitable[object]]
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


def says_what_it_does(provider: Provider, attribute: str, method: str) -> bool:
    """What the attribute says, which must fit: True needs a method of the provider's own."""
    told = bool(getattr(provider, attribute))
    own = getattr(type(provider), method) is not getattr(Provider, method)
    expect(own or not told, f"{attribute} is True, and {method} is the default, which only sleeps")
    return told


@check("WAIT-1")
async def a_wait_for_work_ends(bench: Bench) -> None:
    """`wait_for_work` returns after its timeout at the latest, by the clock."""
    wait = WorkWait(timeout=MINUTE, serves=SERVES, activity_names=WORK)
    ended = await ends(bench, bench.provider.wait_for_work(wait), within=MINUTE + STEP)
    expect(ended, "wait_for_work still waits after its timeout of a minute")


@check("WAIT-2")
async def a_wait_for_a_change_ends(bench: Bench) -> None:
    """`wait_for_change` returns after its timeout at the latest, by the clock."""
    for wait in (
        ChangeWait(instance="absent", timeout=MINUTE, exists=False),
        ChangeWait(instance="alpha", timeout=MINUTE),
    ):
        if wait.exists:
            await bench.create()
        ended = await ends(bench, bench.provider.wait_for_change(wait), within=MINUTE + STEP)
        expect(ended, "wait_for_change still waits after its timeout of a minute")


@check("WAIT-3")
async def a_wait_for_work_ends_with_work(bench: Bench) -> None:
    """The wait of a provider that tells of work ends early when there is some."""
    provider = bench.provider
    if not says_what_it_does(provider, "tells_of_work", "wait_for_work"):
        return
    turns = WorkWait(timeout=MINUTE, serves=SERVES)
    activities = WorkWait(timeout=MINUTE, activity_names=WORK)
    ended = await ends_after(bench, provider.wait_for_work(turns), bench.create)
    expect(ended, "an instance was created, and wait_for_work waits on")
    ended = await ends(bench, provider.wait_for_work(turns), within=MINUTE / 2)
    expect(ended, "a turn was ready before the call, and wait_for_work waits")
    turn = await bench.take()
    turn = await bench.keep(turn, keep_for=timedelta(minutes=5))

    async def add_work() -> None:
        await bench.keep(turn, add=(work("job"),), keep_for=timedelta(minutes=5))

    ended = await ends_after(bench, provider.wait_for_work(activities), add_work)
    expect(ended, "an activity was added, and wait_for_work waits on")
    ended = await ends(bench, provider.wait_for_work(activities), within=MINUTE / 2)
    expect(ended, "an activity was there before the call, and wait_for_work waits")


@check("WAIT-4")
async def a_wait_for_a_change_ends_with_it(bench: Bench) -> None:
    """The wait of a provider that tells of changes ends early when the instance differs."""
    provider = bench.provider
    if not says_what_it_does(provider, "tells_of_changes", "wait_for_change"):
        return

    def wait(
        instance: str = "alpha", commit: str | None = None, exists: bool = True
    ) -> Awaitable[None]:
        return provider.wait_for_change(
            ChangeWait(instance=instance, timeout=MINUTE, last_commit=commit, exists=exists)
        )

    ended = await ends_after(bench, wait(exists=False), bench.create)
    expect(ended, "the instance was created, and wait_for_change waits on")
    expect(await ends(bench, wait(exists=False), within=MINUTE / 2), "missed a creation before it")
    turn = await bench.take()

    async def commit() -> None:
        await bench.commit(turn, id="c-1")

    expect(
        await ends_after(bench, wait(), commit), "a turn committed, and wait_for_change waits on"
    )
    expect(await ends(bench, wait(), within=MINUTE / 2), "missed a commit before it")
    await bench.send(event("more"))
    turn = await bench.take()

    async def park() -> None:
        mark = ParkedMark(reason="unregistered", details="x")
        await provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))

    expect(
        await ends_after(bench, wait(commit="c-1"), park), "parked, and wait_for_change waits on"
    )
    expect(await ends(bench, wait(commit="c-1"), within=MINUTE / 2), "missed a mark before it")


@check("WAIT-5")
async def a_wait_for_cancellations_ends(bench: Bench) -> None:
    """`wait_for_cancellation` returns after its timeout at the latest, names no lease that stands, and extends none."""
    await bench.with_activities(work("live"), work("expired"))
    leases = {each.id: each.lease for each in await bench.lease_work()}
    await bench.provider.renew_activities([leases["live"]], lease_for=timedelta(minutes=3))
    wait = CancellationWait(leases=tuple(leases.values()), timeout=MINUTE)
    found: list[frozenset[ActivityLease]] = []

    async def waiting() -> None:
        found.append(await bench.provider.wait_for_cancellation(wait))

    ended = await ends(bench, waiting(), within=MINUTE + STEP)
    expect(ended, "wait_for_cancellation still waits after its timeout of a minute")
    expect_equal(found, [frozenset()], "leases named as gone, of two that stand")
    left = [each.id for each in await bench.lease_work(token="other")]
    expect_equal(left, ["expired"], "leases that had expired after the wait")


@check("WAIT-6")
async def a_wait_for_cancellations_names_what_is_gone(bench: Bench) -> None:
    """The wait of a provider that tells of cancellations names every lease that is gone."""
    provider = bench.provider
    if not says_what_it_does(provider, "tells_of_cancellations", "wait_for_cancellation"):
        return
    names = ("kept", "taken", "released", "done", "cancelled")
    turn = await bench.with_activities(*map(work, names))
    ending = await bench.with_activities(work("void"), instance="ending")
    leased = {each.id: each for each in await bench.lease_work(token="mine")}
    leases = {name: each.lease for name, each in leased.items()}
    found: list[frozenset[ActivityLease]] = []

    async def waiting(*chosen: str) -> None:
        wait = CancellationWait(
            leases=tuple(leases[name] for name in chosen or leases), timeout=MINUTE
        )
        found.append(await provider.wait_for_cancellation(wait))

    async def cancel() -> None:
        nonlocal turn
        turn = await bench.keep(turn, cancel=("cancelled",))

    async def end() -> None:
        await bench.commit(ending, end=COMPLETED)

    await _named_when_it_ends(bench, waiting(), cancel)
    await _named_when_it_ends(bench, waiting("kept", "void"), end)
    expect_equal(found, [{leases["cancelled"]}, {leases["void"]}], "leases named as gone")
    found.clear()
    await provider.release_activity(ActivityRelease(lease=leases["released"]))
    await bench.complete(leased["done"])
    leases["unknown"] = ActivityLease(instance="alpha", activity="unknown", token="mine")
    leases["stranger"] = ActivityLease(instance="alpha", activity="kept", token="stranger")
    leases["absent"] = ActivityLease(instance="absent", activity="kept", token="mine")
    await provider.renew_activities([leases["kept"]], lease_for=timedelta(minutes=3))
    bench.advance(LEASE)
    taken = sorted(each.id for each in await bench.lease_work(token="other"))
    expect_equal(taken, ["released", "taken"], "leased by another")
    within = MINUTE / 2 if provider.tells_of_changes else MINUTE + STEP
    expect(await ends(bench, waiting(), within=within), "leases were gone before it, and it waits")
    expect_equal(found, [frozenset(leases.values()) - {leases["kept"]}], "leases named as gone")


async def _named_when_it_ends(
    bench: Bench, wait: Awaitable[None], change: Callable[[], Awaitable[object]]
) -> None:
    if bench.provider.tells_of_changes:
        ended = await ends_after(bench, wait, change)
    else:
        await change()
        ended = await ends(bench, wait, within=MINUTE + STEP)
    expect(ended, "a commit made a lease void, and wait_for_cancellation waits on")
