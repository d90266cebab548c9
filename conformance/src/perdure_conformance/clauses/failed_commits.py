"""COMMIT-28: a storage that fails in the middle of a commit."""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import TurnCommit

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.commit_conditions import (
    expect_as_before,
    expect_repeatable,
    full_commit,
)
from perdure_conformance.expect import ClauseBroken, expect
from perdure_conformance.samples import LEASE, SECOND
from perdure_conformance.tampering import FAILING_STEPS

MOST_STEPS = 300
"""A commit of half a dozen records takes fewer on any storage."""


@check("COMMIT-28", tampering=FAILING_STEPS)
async def a_commit_that_fails_is_whole_or_nothing(bench: Bench) -> None:
    """If the storage fails at any step of a commit, all of it happened or nothing, and a repeat succeeds once."""
    await bench.create("neighbour")
    await bench.create("taken")
    for turn in await bench.lease():
        await bench.commit(turn)
    for step in range(1, MOST_STEPS + 1):
        good = await full_commit(bench, f"i-{step:03}")
        good = replace(good, keep_for=LEASE if step % 2 else None)
        if not await fails_cleanly(bench, good, step):
            expect(step > 1, "the backend makes no step of a commit fail")
            return
        await expect_repeatable(bench, good)
    raise ClauseBroken(f"a commit did not end after {MOST_STEPS} steps")


async def fails_cleanly(bench: Bench, good: TurnCommit, step: int) -> bool:
    """Let a step of the commit fail, and look; returns whether the commit had so many steps."""
    before = await bench.state(good.instance), await bench.history(good.instance)
    bench.advance(SECOND)
    failed = await bench.failed(lambda: bench.provider.commit_turn(good), "a commit", step=step)
    happened = (await bench.state(good.instance)).last_commit == good.id
    if failed.error is None:
        expect(happened, f"a commit whose step {step} fails was acknowledged, and is lost")
    elif not happened:
        await expect_as_before(bench, good, before, f"a commit that failed at step {step}")
    return failed.reached
