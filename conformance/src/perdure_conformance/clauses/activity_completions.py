"""ACT-7 to ACT-10: completions of activities."""

from __future__ import annotations

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ExecutionEnd,
    InstanceStatus,
)
from perdure.errors import ActivityLeaseLost

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import expect_equal, expect_refusal
from perdure_conformance.samples import (
    LEASE,
    SECOND,
    delivered,
    restart,
    result,
    work,
)

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED)
AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)


@check("ACT-7")
async def a_completion_tells_the_instance(bench: Bench) -> None:
    """A completion removes the activity and puts its message, whether or not the instance is leased."""
    turn = await bench.with_activities(work("job"), work("second"))
    leased = {each.id: each for each in await bench.lease_work()}
    await bench.complete(leased["job"], message="done")
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), ["done"], "message of a completion, while the turn is leased")
    await bench.commit(turn)
    outcome = result("second-done", data=b"payload")
    await bench.provider.complete_activity(
        ActivityCompletion(lease=leased["second"].lease, message=outcome)
    )
    turn = await bench.take()
    expect_equal(
        turn.messages, (outcome,), "message of a completion, while the instance is not leased"
    )
    turn = await bench.keep(turn, remove=(), add=(work("third"),))
    await bench.complete(await bench.take_work("third"), message="second-done")
    turn = await bench.keep(turn, remove=())
    expect_equal(turn.messages, (outcome,), "messages where the mailbox held the id already")
    bench.advance(LEASE)
    await bench.expect_no_work("all were completed")


@check("ACT-8")
async def a_lost_lease_completes_nothing(bench: Bench) -> None:
    """Without its lease a completion is refused and nothing changes; an expired one stands."""
    turn = await bench.with_activities(work("late"))
    late = await bench.take_work("late")
    bench.advance(LEASE - SECOND)
    turn = await bench.keep(turn, add=(work("job"),))
    bench.advance(SECOND)
    await bench.complete(late, message="late")
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), ["late"], "message of a completion under an expired lease")
    first = await bench.take_work()
    stranger = ActivityLease(instance="alpha", activity="job", token="a stranger's")
    outcome = result("result-job")
    with expect_refusal(ActivityLeaseLost, "a completion under another token") as refusal:
        await bench.provider.complete_activity(ActivityCompletion(lease=stranger, message=outcome))
    expect_equal(
        (refusal.error.instance, refusal.error.activities), ("alpha", ("job",)), "what it names"
    )
    bench.advance(LEASE - SECOND)
    turn = await bench.keep(turn)
    bench.advance(SECOND)
    second = await bench.take_work()
    with expect_refusal(ActivityLeaseLost, "a completion after another took over"):
        await bench.complete(first, message="too late")
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), [], "messages of refused completions")
    await bench.provider.release_activity(ActivityRelease(lease=second.lease))
    with expect_refusal(ActivityLeaseLost, "a completion after a release"):
        await bench.complete(second)
    third = await bench.take_work()
    await bench.complete(third, message="good")
    for again in (third, first):
        with expect_refusal(ActivityLeaseLost, "a completion of what is completed"):
            await bench.complete(again, message="twice")
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), ["good"], "messages of all completions")


@check("ACT-9")
async def a_void_activity_completes_nothing(bench: Bench) -> None:
    """The completion of a void activity is refused and nothing changes."""
    turn = await bench.with_activities(work("job"))
    old = await bench.take_work()
    turn = await bench.keep(turn, end=AGAIN, front=(restart(2),))
    outcome = result("void", execution=None)
    with expect_refusal(ActivityLeaseLost, "a completion for an earlier execution"):
        await bench.provider.complete_activity(ActivityCompletion(lease=old.lease, message=outcome))
    turn = await bench.keep(turn, add=(work("next"),))
    expect_equal(delivered(turn), [], "messages after a refused completion")
    leased = await bench.take_work("next")
    before = await bench.state()
    await bench.commit(turn, end=COMPLETED)
    with expect_refusal(ActivityLeaseLost, "a completion for an ended instance"):
        await bench.complete(leased)
    expect_equal(before.status, InstanceStatus.RUNNING, "status before the end")
    await bench.expect_nothing_ready("the instance has ended")


@check("ACT-10")
async def a_cancelled_activity_is_gone(bench: Bench) -> None:
    """A cancelled activity cannot be completed, and its lease is gone at the next renewal."""
    later = work("later", visible_at=bench.after(LEASE / 2))
    turn = await bench.with_activities(work("job"), work("other"), work("delayed"), later)
    leased = {each.id: each for each in await bench.lease_work()}
    release = ActivityRelease(lease=leased.pop("delayed").lease, delay=LEASE / 2)
    await bench.provider.release_activity(release)
    turn = await bench.keep(turn, cancel=("job", "delayed", "later"))
    gone = await bench.provider.renew_activities(
        [each.lease for each in leased.values()], lease_for=LEASE
    )
    expect_equal(gone, frozenset({leased["job"].lease}), "gone after a cancellation")
    with expect_refusal(ActivityLeaseLost, "the completion of a cancelled activity"):
        await bench.complete(leased["job"])
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), [], "messages of a cancelled activity")
    bench.advance(2 * LEASE)
    expect_equal([e.id for e in await bench.lease_work()], ["other"], "activities left")
