"""COMMIT-28: a storage that fails in the middle of a commit."""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import TurnCommit
from perdure.errors import HistoryConflict, LeaseLost, ProviderError

from perdure_conformance.check import check
from perdure_conformance.checks.commits import everything, expect_as_before, expect_repeatable
from perdure_conformance.doors import FAILING_STEPS
from perdure_conformance.expect import ClauseBroken, expect
from perdure_conformance.lab import Lab
from perdure_conformance.samples import LEASE, SECOND

MOST_STEPS = 300
"""A commit of half a dozen records takes fewer, whatever the storage."""


@check("COMMIT-28", door=FAILING_STEPS)
async def a_commit_that_fails_is_whole_or_nothing(lab: Lab) -> None:
    """At whatever step the storage fails a commit, all of it happened or nothing, and its repeat succeeds once."""
    await lab.create("neighbour")
    await lab.create("taken")
    for turn in await lab.lease():
        await lab.commit(turn)
    for step in range(1, MOST_STEPS + 1):
        good = await everything(lab, f"i-{step:03}")
        good = replace(good, keep_for=LEASE if step % 2 else None)
        if not await fails_cleanly(lab, good, step):
            expect(step > 1, "the harness lets no step of a commit fail")
            return
        await expect_repeatable(lab, good)
    raise ClauseBroken(f"a commit was not done after {MOST_STEPS} steps")


async def fails_cleanly(lab: Lab, good: TurnCommit, step: int) -> bool:
    """Let a step of the commit fail, and look; returns whether the commit had so many steps."""
    before = await lab.state(good.instance), await lab.history(good.instance)
    lab.advance(SECOND)
    error: ProviderError | None = None
    with lab.doors.failing_steps.fail_at(lab.provider, step) as failing:
        try:
            await lab.within(lab.provider.commit_turn(good), f"a commit whose step {step} fails")
        except (LeaseLost, HistoryConflict) as refusal:
            raise ClauseBroken(f"a commit whose step {step} fails was refused: {refusal}") from None
        except ProviderError as raised:
            error = raised
    happened = (await lab.state(good.instance)).last_commit == good.id
    if error is None:
        expect(happened, f"a commit whose step {step} fails was acknowledged, and is lost")
    elif not happened:
        await expect_as_before(lab, good, before, f"a commit that failed at step {step}")
    return failing.reached
