"""CALL-10: a storage that fails in the middle of a look for work."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.contract import (
    ActivityRelease,
    ExecutionEnd,
    InstanceStatus,
    LeasedActivity,
    LeasedTurn,
    Provider,
    TurnRelease,
)
from perdure.errors import ProviderError

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import LEASE, work
from perdure_conformance.tampering import FAILING_STEPS

MOST_STEPS = 300
"""A look for two takes fewer on any storage."""


@check("CALL-10", tampering=FAILING_STEPS)
async def a_look_that_fails_counts_for_nothing(bench: Bench) -> None:
    """If the storage fails at any step of a look, only the leases that the look returns are counted."""
    other = await bench.open()
    await bench.with_activities(work("left"), work("right"))
    for look in (look_for_turns, look_for_activities):
        for repeats in (True, False):
            step = 1
            while await look(bench, other, step, repeats=repeats):
                step += 1
                expect(step <= MOST_STEPS, f"a look did not end after {MOST_STEPS} steps")


async def look_for_turns(bench: Bench, other: Provider, step: int, *, repeats: bool) -> bool:
    """Let a step of a look for two turns fail, and see how often they count as leased.

    `repeats`: the caller asks again under the same token. Returns whether the look had so many
    steps.
    """
    names = [f"{side} {step} {repeats}" for side in ("left", "right")]
    await bench.all_well(bench.create(name) for name in names)
    token, turns = bench.fresh("token"), list[LeasedTurn]()
    with bench.tampering.failing_steps.fail_at(bench.provider, step) as failing:
        try:
            turns += await bench.within(bench.lease(token=token), f"a look whose step {step} fails")
        except ProviderError:
            if repeats:
                turns += await bench.lease(token=token)
    expect(step > 1 or failing.reached, "the backend makes no step of a look for turns fail")
    expect_counted_once(turns, f"of a look whose step {step} failed")
    for turn in turns:
        await bench.provider.release_turn(TurnRelease(lease=held_by(turn), counted=False))
    bench.advance(LEASE)
    turns = list(await bench.lease(provider=other))
    expect_counted_once(turns, f"after a look that failed at step {step}")
    found = sorted(turn.state.instance for turn in turns)
    expect_equal(found, names, f"instances leased after a look that failed at step {step}")
    for turn in turns:
        await bench.commit(turn, end=ExecutionEnd(status=InstanceStatus.COMPLETED))
    return failing.reached


async def look_for_activities(bench: Bench, other: Provider, step: int, *, repeats: bool) -> bool:
    """As `look_for_turns`, with two activities."""
    token, leased = bench.fresh("worker"), list[LeasedActivity]()
    with bench.tampering.failing_steps.fail_at(bench.provider, step) as failing:
        try:
            look = bench.lease_work(token=token)
            leased += await bench.within(look, f"a look for activities whose step {step} fails")
        except ProviderError:
            if repeats:
                leased += await bench.lease_work(token=token)
    expect(step > 1 or failing.reached, "the backend makes no step of a look for activities fail")
    expect_delivered_once(leased, f"of a look whose step {step} failed")
    await release_work(bench, leased)
    bench.advance(LEASE)
    leased = list(await bench.lease_work(provider=other))
    expect_delivered_once(leased, f"after a look that failed at step {step}")
    found = sorted(each.id for each in leased)
    expect_equal(found, ["left", "right"], f"activities after a look that failed at step {step}")
    await release_work(bench, leased)
    return failing.reached


def expect_counted_once(turns: Sequence[LeasedTurn], when: str) -> None:
    """Complain about a turn that counts as leased before."""
    expect_equal([turn.attempt for turn in turns], [1] * len(turns), f"attempts {when}")


def expect_delivered_once(leased: Sequence[LeasedActivity], when: str) -> None:
    """Complain about an activity that counts as leased before."""
    expect_equal([each.delivery for each in leased], [1] * len(leased), f"deliveries {when}")


async def release_work(bench: Bench, leased: Sequence[LeasedActivity]) -> None:
    """Give activities back, uncounted."""
    for each in leased:
        await bench.provider.release_activity(ActivityRelease(lease=each.lease, counted=False))
