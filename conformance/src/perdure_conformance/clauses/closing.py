"""CALL-15: a provider object that is closed while its calls are in progress."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from perdure.contract import CancellationWait, ChangeWait, InstanceStatus, WorkWait
from perdure.errors import ProviderError

from perdure_conformance.bench import PATIENCE, Bench
from perdure_conformance.check import check
from perdure_conformance.expect import ClauseBroken, expect, expect_equal
from perdure_conformance.samples import (
    SERVES,
    WORK,
    commit_of,
    delivered,
    event,
    new_instance,
    work,
)

ROUNDS = (1, 2, 4, 8, 16, 32)
"""Steps of the event loop between the begin of the calls and the close."""
MINUTE = timedelta(minutes=1)


@check("CALL-15")
async def a_close_ends_calls_in_progress(bench: Bench) -> None:
    """A close returns, and each call in progress ends with its answer or a ProviderError, and took effect as a whole or not at all."""
    for steps in ROUNDS:
        await _closed_after(bench, steps)


async def _closed_after(bench: Bench, steps: int) -> None:
    names = [f"{steps}-{n}" for n in range(4)]
    for name in names:
        await bench.create(name)
    closing = await bench.open()
    turns = await bench.lease(provider=closing)
    commits = {
        turn.state.instance: commit_of(
            turn, events=(b"1",), add=(work("job"),), send=(event("sent", turn.state.instance),)
        )
        for turn in turns
    }
    calls = [
        *(closing.commit_turn(commit) for commit in commits.values()),
        *(closing.create_instance(new_instance(f"{name}-new")) for name in names),
        closing.wait_for_work(WorkWait(timeout=MINUTE, serves=SERVES, activity_names=WORK)),
        closing.wait_for_change(ChangeWait(instance="absent", timeout=MINUTE, exists=False)),
        closing.wait_for_cancellation(CancellationWait(leases=(), timeout=MINUTE)),
    ]
    tasks = [asyncio.ensure_future(call) for call in calls]
    for _ in range(steps):
        await asyncio.sleep(0)
    said = f"{steps} steps after calls began, a close"
    await bench.within(bench.close(closing), said)
    bench.advance(2 * MINUTE)
    done, late = await asyncio.wait(tasks, timeout=PATIENCE)
    for task in late:
        task.cancel()
    expect_equal(len(late), 0, f"calls that did not end: {said}")
    outcomes = await asyncio.gather(*done, return_exceptions=True)
    for outcome in outcomes:
        _expect_answered(outcome, said)
    for name, task in zip(commits, tasks, strict=False):
        await _expect_whole(bench, name, acknowledged=task.exception() is None, said=said)
    for name, task in zip(names, tasks[len(commits) :], strict=False):
        found = await bench.provider.read_instance(f"{name}-new")
        expect(found or task.exception(), f"{said}: an instance was acknowledged, and is lost")
    everything = {turn.state.instance: delivered(turn) for turn in await bench.lease(limit=1000)}
    for name in names:
        expect(everything.get(f"{name}-new", ["start"]) == ["start"], f"{said}: no start message")
    await bench.lease_work(limit=1000)


def _expect_answered(outcome: object, said: str) -> None:
    """Complain if a call ended with anything but its answer or an error of the contract."""
    if isinstance(outcome, asyncio.CancelledError):
        raise ClauseBroken(
            f"{said}: a call ended as cancelled, and its caller had not cancelled it"
        )
    if isinstance(outcome, BaseException) and not isinstance(outcome, ProviderError):
        raise ClauseBroken(f"{said}: a call raised {outcome!r}, which is no ProviderError")


async def _expect_whole(bench: Bench, name: str, *, acknowledged: bool, said: str) -> None:
    state = await bench.state(name)
    happened = state.last_event == 1
    expect(happened or not acknowledged, f"{said}: a commit was acknowledged, and is lost")
    expect_equal(state.status, InstanceStatus.RUNNING, f"{said}: status")
    events = len(await bench.history(name))
    expect_equal(events, int(happened), f"{said}: events of a commit in progress")
