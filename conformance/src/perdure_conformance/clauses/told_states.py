"""WAIT-7: the states that waits for changes return, which spare the caller a read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from perdure.contract import (
    RECOVERY,
    ChangeWait,
    ExecutionEnd,
    InstanceStatus,
    LeasedTurn,
    TurnCommit,
)

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.waiting import MINUTE, SHORT, ends
from perdure_conformance.expect import expect
from perdure_conformance.samples import reopening

NAMES = ("told", "other")

Call = Callable[[], Awaitable[object]]


@check("WAIT-7")
async def a_wait_for_a_change_tells_what_the_instance_was_since(bench: Bench) -> None:
    """A state that `wait_for_change` returns is one that the instance has had since the call began."""
    if not bench.provider.tells_of_changes:
        return
    drafts = [_ending(bench, await bench.started(name)) for name in NAMES]
    unseen = [ChangeWait(instance=name, timeout=MINUTE) for name in NAMES]
    commits = [bench.provider.commit_turn(draft) for draft in drafts]
    told, other = unseen
    await _tells_the_truth(
        bench, (replace(told, until_ended=True), other), lambda: asyncio.gather(*commits)
    )
    await _tells_the_truth(bench, unseen)
    if RECOVERY in bench.provider.capabilities:
        seen = replace(told, last_commit=drafts[0].id)
        again = reopening(1, told.instance)
        await _tells_the_truth(bench, (seen,), lambda: bench.provider.reopen_instance(again))
        # As a caller sees it that has missed the end.
        await _tells_the_truth(bench, (told,))


def _ending(bench: Bench, turn: LeasedTurn) -> TurnCommit:
    output = f"the output of {turn.state.instance}".encode()
    end = ExecutionEnd(status=InstanceStatus.COMPLETED, output=output)
    return bench.draft(turn, events=(b"1",), end=end)


async def _tells_the_truth(
    bench: Bench, waits: Sequence[ChangeWait], change: Call | None = None
) -> None:
    """Compare what the waits return with reads before and after a change, or if there is none, now."""
    before = [await bench.state(wait.instance) for wait in waits]
    calls = [asyncio.ensure_future(bench.provider.wait_for_change(wait)) for wait in waits]
    if change is not None:
        for _ in range(5):
            await asyncio.sleep(0)
        await asyncio.wait(calls, timeout=SHORT)
        await change()
    for wait, call, earlier in zip(waits, calls, before, strict=True):
        # Whether it ends is for WAIT-4.
        told = call.result() if await ends(bench, call, within=MINUTE / 4) else None
        now = await bench.state(wait.instance)
        expect(
            told is None or told in (earlier, now),
            f"wait_for_change returned {told!r} for the instance {wait.instance!r}, which has not been"
            f" so since the call began: it was {earlier!r}, and is {now!r}",
        )
