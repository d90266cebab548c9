"""COMMIT-29: commits that contradict themselves."""

from __future__ import annotations

from collections.abc import Mapping

from perdure.contract import ActivityLease, ExecutionEnd, InstanceStatus, NewChild, Provider
from perdure.errors import InvalidInput

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    CommitFields,
    event,
    new_instance,
    restart,
    result,
    work,
)


def contradictions(provider: Provider) -> Mapping[str, CommitFields]:
    """What is wrong with a commit of "alpha", and the fields that make it so."""
    running = ExecutionEnd(status=InstanceStatus.RUNNING)
    count = provider.finish_limit + 1
    leases = (ActivityLease(instance="alpha", activity=f"a-{n}", token="t") for n in range(count))
    elsewhere = NewChild(instance=new_instance("alpha"), if_exists=result("told", "beta"))
    return {
        "finishes too many activities": {"finish": tuple(leases)},
        "ends its execution as Running": {"end": running},
        "adds a leased activity without a token": {
            "add": (work("job", lease=True),),
            "activity_lease_for": LEASE,
        },
        "adds a leased activity without a length": {
            "add": (work("job", lease=True),),
            "activity_token": "t",
        },
        "finishes an activity of another instance": {
            "finish": (ActivityLease(instance="beta", activity="job", token="t"),)
        },
        "adds an id twice": {"add": (work("job"), work("other"), work("job", name="other"))},
        "unpins and ends nothing": {"unpin": True},
        "unpins and completes": {"unpin": True, "end": COMPLETED},
        "unpins and pins": {
            "unpin": True,
            "version": "1.0.0",
            "end": AGAIN,
            "front": (restart(2),),
        },
        "puts a message to another front": {"front": (event("front", "beta"),)},
        "tells another instance of an id in use": {"create": (elsewhere,)},
    }


@check("COMMIT-29")
async def contradictions_are_refused(bench: Bench) -> None:
    """A commit that contradicts itself is refused as invalid, by its id, and changes nothing."""
    turn = await bench.started()
    before = await bench.state()
    for what, fields in contradictions(bench.provider).items():
        with expect_refusal(InvalidInput, f"a commit that {what}") as refusal:
            await bench.commit(
                turn, **{"id": "wrong", "events": (b"1",), "keep_for": LEASE, **fields}
            )
        expect(
            "wrong" in str(refusal.error), f"the error does not name the commit: {refusal.error}"
        )
        expect_equal(await bench.state(), before, f"the instance after a commit that {what}")
    await bench.expect_no_work("commits that add activities were refused")
    await bench.commit(turn, events=(b"1",))
    await bench.expect_nothing_ready("commits that send messages were refused")
