"""TRANSACT: activities that write in the transaction that their completion commits."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.contract import (
    TRANSACTIONS,
    ActivityCompletion,
    ActivityRelease,
    LeasedActivity,
    OpenTransaction,
)
from perdure.errors import ActivityLeaseLost

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import expect_equal, expect_refusal
from perdure_conformance.samples import AGAIN, LEASE, delivered, restart, result, work
from perdure_conformance.tampering import EFFECTS


@dataclass(frozen=True, slots=True)
class _Written:
    """An open transaction in which a key was written."""

    bench: Bench
    transaction: OpenTransaction
    key: str

    async def complete(self, leased: LeasedActivity) -> None:
        """Complete the activity in the transaction."""
        outcome = result(
            f"result-{leased.id}",
            leased.instance,
            incarnation=leased.incarnation,
            execution=leased.execution,
        )
        await self.bench.provider.complete_in_transaction(
            self.transaction, ActivityCompletion(lease=leased.lease, message=outcome)
        )

    async def roll_back(self, *, in_use: bool = False) -> None:
        """Roll the transaction back."""
        await self.bench.provider.roll_back(self.transaction, in_use=in_use)

    async def expect(self, times: int, when: str) -> None:
        """Complain unless the key is there so many times."""
        found = list(await self.bench.tampering.effects.read_effects())
        expect_equal(found.count(self.key), times, f"how often what was written is there {when}")


async def write(bench: Bench, *, blocking: bool = False) -> _Written:
    """Begin a transaction, and write a key in it."""
    transaction = await bench.provider.begin_transaction(blocking=blocking)
    key = f"{bench.namespace}/{bench.fresh('effect')}"
    await bench.tampering.effects.write_effect(transaction.connection, key)
    return _Written(bench, transaction, key)


@check("TRANSACT-1", since=(1, 1), needs=TRANSACTIONS, tampering=EFFECTS)
async def a_completion_commits_what_was_written(bench: Bench) -> None:
    """What was written and the completion are there together from the return on, and nothing of either before."""
    turn = await bench.with_activities(work("job"), work("other"))
    leased = {each.id: each for each in await bench.lease_work()}
    for name, blocking in (("job", False), ("other", True)):
        written = await write(bench, blocking=blocking)
        await written.expect(0, "before the completion")
        await written.complete(leased[name])
        await written.expect(1, "after the completion")
        await written.roll_back()
        await written.expect(1, "after a rollback that comes too late")
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), ["result-job", "result-other"], "messages of the completions")
    bench.advance(LEASE)
    await bench.expect_no_work("both were completed")


@check("TRANSACT-2", since=(1, 1), needs=TRANSACTIONS, tampering=EFFECTS)
async def without_its_lease_nothing_is_committed(bench: Bench) -> None:
    """Where the lease is gone or the activity is void, the completion is refused, and neither it nor what was written is there."""
    names = ("cancelled", "released", "completed", "expired")
    turn = await bench.with_activities(*(work(name) for name in names))
    leased = {each.id: each for each in await bench.lease_work()}
    turn = await bench.keep(turn, cancel=("cancelled",))
    await bench.provider.release_activity(ActivityRelease(lease=leased["released"].lease))
    again = await bench.take_work("released")
    await bench.complete(leased["completed"])
    for name in ("cancelled", "released", "completed"):
        written = await write(bench)
        with expect_refusal(ActivityLeaseLost, f"the completion of what was {name}"):
            await written.complete(leased[name])
        await written.expect(0, f"after the completion of what was {name} was refused")
        await written.roll_back()
        await written.expect(0, f"after the rollback of what was {name}")
    written = await write(bench)
    with expect_refusal(ActivityLeaseLost, "a completion under a lease that is gone"):
        await written.complete(leased["released"])
    await written.complete(again)
    await written.expect(1, "after the completion under the lease that stands")
    bench.advance(LEASE)
    written = await write(bench, blocking=True)
    await written.complete(leased["expired"])
    await written.expect(1, "after the completion under a lease that expired and stands")
    turn = await bench.take()
    expect_equal(
        delivered(turn),
        ["result-completed", "result-released", "result-expired"],
        "messages of all completions",
    )
    turn = await bench.keep(turn, add=(work("void"),))
    void = await bench.take_work("void")
    turn = await bench.keep(turn, end=AGAIN, front=(restart(2),))
    written = await write(bench)
    with expect_refusal(ActivityLeaseLost, "the completion of a void activity"):
        await written.complete(void)
    await written.roll_back()
    await written.expect(0, "after the completion of a void activity was refused")


@check("TRANSACT-3", since=(1, 1), needs=TRANSACTIONS, tampering=EFFECTS)
async def a_rollback_leaves_nothing(bench: Bench) -> None:
    """After a rollback nothing that was written is there, the lease stands, and a repeat has no effect."""
    turn = await bench.with_activities(work("job"))
    leased = await bench.take_work()
    for blocking, in_use in ((False, False), (True, False), (True, True)):
        written = await write(bench, blocking=blocking)
        await written.roll_back(in_use=in_use)
        await written.roll_back(in_use=in_use)
        await written.expect(0, "after a rollback")
    expect_equal(
        await bench.provider.renew_activities([leased.lease], lease_for=LEASE),
        frozenset(),
        "leases that are gone after rollbacks",
    )
    written = await write(bench)
    await written.complete(leased)
    await written.expect(1, "after the completion that followed")
    expect_equal(delivered(await bench.keep(turn)), ["result-job"], "messages of all completions")


@check("TRANSACT-4", since=(1, 1), needs=TRANSACTIONS, tampering=EFFECTS)
async def a_cancelled_completion_is_whole_or_nothing(bench: Bench) -> None:
    """Wherever a completion in a transaction is cancelled, it and what was written are there, or neither is."""
    for steps in (0, 1, 2, 3, 5, 8, 13):
        name = f"i-{steps:02}"
        turn = await bench.with_activities(work("job"), instance=name)
        [leased] = await bench.lease_work()
        written = await write(bench, blocking=steps % 2 == 1)
        await bench.cancelled(written.complete(leased), steps=steps)
        await written.roll_back()
        gone = await bench.provider.renew_activities([leased.lease], lease_for=LEASE)
        await written.expect(len(gone), f"after a completion that was cancelled at step {steps}")
        messages = delivered(await bench.keep(turn))
        expect_equal(len(messages), len(gone), f"messages after a cancellation at step {steps}")
        if not gone:
            await bench.complete(leased)
