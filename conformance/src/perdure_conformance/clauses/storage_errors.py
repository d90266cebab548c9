"""CALL-13: a storage whose driver raises, and whose connections are cut.

An instance lives through one outage: each of its calls is made while the storage is away, and again
when it is back. Then one lives through each other outage, and makes again only what it needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import TypeVar, cast

from perdure.contract import (
    DELETION,
    LISTING,
    MANAGEMENT,
    RECOVERY,
    VALUES,
    ActivityLease,
    ActivityRelease,
    CancellationWait,
    ChangeWait,
    ExecutionEnd,
    InstanceQuery,
    InstanceStatus,
    TurnRelease,
    WorkWait,
)
from perdure.errors import (
    ActivityLeaseLost,
    ProviderError,
    StorageCorrupt,
    StorageFailed,
    StorageUnavailable,
)

from perdure_conformance.bench import Bench, FailedCall, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.failing_steps import fail_at_every_step
from perdure_conformance.clauses.waiting import ends
from perdure_conformance.expect import ClauseBroken, expect, expect_equal
from perdure_conformance.samples import (
    LEASE,
    SERVES,
    delivered,
    event,
    incarnation_of,
    new_instance,
    reopening,
    termination,
    work,
)
from perdure_conformance.tampering import STORAGE_ERRORS, Outage

T = TypeVar("T")

COMPLETED = ExecutionEnd(status=InstanceStatus.COMPLETED)
MOMENT = timedelta(seconds=1)
OF_THE_CONTRACT = (StorageUnavailable, StorageFailed, StorageCorrupt)
ADVICE = (
    "raise StorageUnavailable for what may succeed later, StorageFailed or StorageCorrupt for what"
    " will not, with the driver's exception as the cause"
)


@check("CALL-13", tampering=STORAGE_ERRORS)
async def errors_of_the_storage_become_those_of_the_contract(bench: Bench) -> None:
    """Whatever the storage's driver raises, a call raises a `StorageUnavailable`, `StorageFailed` or `StorageCorrupt`, and goes through once the storage answers again."""
    outages = sorted(bench.tampering.storage_errors.outages, key=lambda each: not each.passes)
    expect(
        outages and outages[0].passes,
        "the backend has no outage that passes; connections can be cut",
    )
    times = Times(bench, outages[0])
    await live_through(times, "whole", whole=True)
    for number, outage in enumerate(outages[1:]):
        await live_through(Times(bench, outage), f"short-{number}", whole=False)

    async def commit_cut_at(step: int) -> bool:
        return await times.commit(f"cut-{step}", step)

    await fail_at_every_step("a commit", commit_cut_at)


class Times:
    """Calls that are made while the storage is away, and again when it is back."""

    def __init__(self, bench: Bench, outage: Outage) -> None:
        self.bench = bench
        self.outage = outage

    async def through(self, what: str, call: Callable[[], Awaitable[T]], *, step: int = 1) -> T:
        """The answer to a call: the one that came while the storage was away, or that of a repeat."""
        first = await self.away(what, call, step=step)
        expect(first.reached or step > 1, f"{self.outage.name}: the backend makes no {what} fail")
        if first.error is None:
            return cast("T", first.answer)
        try:
            return await self.bench.within(call(), f"{what} after {self.outage.name}")
        except Exception as error:
            raise ClauseBroken(
                f"{self.outage.name}, and then the storage worked again, but {what} raised {error!r}"
            ) from error

    async def once_away(
        self, what: str, call: Callable[[], Awaitable[object]], *, step: int = 1
    ) -> None:
        """A call that is made while the storage is away, and not again."""
        await self.away(what, call, step=step)

    async def away(
        self, what: str, call: Callable[[], Awaitable[T]], *, step: int
    ) -> FailedCall[T]:
        """What comes of a call while the storage is away."""
        answer: T | None = None
        raised: ProviderError | None = None
        errors = self.bench.tampering.storage_errors
        with errors.break_storage(self.bench.provider, self.outage, step=step) as broken:
            try:
                answer = await self.bench.within(call(), f"{what} while {self.outage.name}")
            except OF_THE_CONTRACT as error:
                self.expect_advice(what, error)
                raised = error
            except ProviderError as error:
                raise ClauseBroken(
                    f"{self.outage.name}, and {what} was refused with {error!r}; nothing can be known"
                    f" then: {ADVICE}"
                ) from error
            except ClauseBroken:
                raise
            except Exception as error:
                raise ClauseBroken(
                    f"{self.outage.name}, and {what} raised {error!r}; {ADVICE}"
                ) from error
        return FailedCall(answer=answer, error=raised, reached=broken.reached)

    def expect_advice(self, what: str, error: ProviderError) -> None:
        """Complain about an error that tells its caller to give up, though the outage passes."""
        expect(
            error.retryable or not self.outage.passes,
            f"{self.outage.name}, and {what} raised {error!r}, which is not retryable; raise"
            " StorageUnavailable",
        )

    async def commit(self, instance: str, step: int) -> bool:
        """A commit during which the storage goes away; returns whether it had so many steps."""
        await self.bench.create(instance)
        turn = await self.bench.take(instance)
        commit = self.bench.draft(turn, events=(b"1", b"2"), add=(work("job"),), end=COMPLETED)
        cut = await self.away(
            "commit_turn", lambda: self.bench.provider.commit_turn(commit), step=step
        )
        if cut.error is not None:
            # Whether it took effect is not known, so it is repeated, as core does.
            await self.bench.provider.commit_turn(commit)
        history = [each.data for each in await self.bench.history(instance)]
        expect_equal(history, [b"1", b"2"], f"history after a commit that was cut at step {step}")
        return cut.reached


async def live_through(times: Times, instance: str, *, whole: bool) -> None:
    """Bring an instance to its end, every call of which finds the storage away at first."""
    bench, provider, name = times.bench, times.bench.provider, times.outage.name
    new, message = new_instance(instance), event("event", instance)
    again = times.through if whole else times.once_away
    await times.through("create_instance", lambda: provider.create_instance(new))
    await again("send", lambda: provider.send([message]))
    await wait_through(times, instance)
    token, worker = bench.fresh("token"), bench.fresh("worker")
    [turn] = await times.through("lease_turns", lambda: bench.lease(token=token))
    for what, read in reads(bench, instance):
        for step in (1, 2) if whole else (1,):
            await again(what, read, step=step)
    await again("renew_turns", lambda: provider.renew_turns([held_by(turn)], lease_for=LEASE))
    commit = bench.draft(turn, events=(b"scheduled",), add=(work("job"), work("spare")))
    await times.through("commit_turn", lambda: provider.commit_turn(commit))
    found = await times.through("lease_activities", lambda: bench.lease_work(token=worker))
    expect_equal(sorted(each.id for each in found), ["job", "spare"], f"activities after {name}")
    job, spare = sorted(found, key=lambda each: each.id)
    leases = [each.lease for each in found]
    await again("renew_activities", lambda: provider.renew_activities(leases, lease_for=LEASE))
    await times.through("complete_activity", lambda: once(bench.complete(job)))
    release = ActivityRelease(lease=spare.lease, delay=LEASE)
    await again("release_activity", lambda: provider.release_activity(release))
    turn = await bench.take(instance)
    if whole:
        await times.through(
            "release_turn", lambda: provider.release_turn(TurnRelease(lease=held_by(turn)))
        )
        turn = await bench.take(instance)
    expect_equal(delivered(turn), ["result-job"], f"messages of the second turn after {name}")
    await bench.commit(turn, events=(b"done",), end=COMPLETED)
    history = [each.data for each in await bench.history(instance)]
    expect_equal(history, [b"scheduled", b"done"], f"history after {name}")
    if whole:
        await recover_through(times, instance)
    await bench.expect_nothing_ready(f"{name} is over and all has ended")


async def once(completion: Awaitable[None]) -> None:
    """A completion that may have taken effect before: then its lease is gone."""
    try:
        await completion
    except ActivityLeaseLost:
        return


async def wait_through(times: Times, instance: str) -> None:
    """Let waits begin while the storage is away: they end, or raise."""
    bench, provider = times.bench, times.bench.provider
    running = ActivityLease(instance=instance, activity="none", token="none")  # no secret
    for wait in (
        lambda: provider.wait_for_work(WorkWait(timeout=MOMENT, serves=SERVES)),
        lambda: provider.wait_for_change(ChangeWait(instance=instance, timeout=MOMENT)),
        lambda: provider.wait_for_cancellation(CancellationWait(leases=(running,), timeout=MOMENT)),
    ):
        ended = ends_as_none(wait)
        await times.away(
            "a wait", lambda ended=ended: ends(bench, ended(), within=2 * MOMENT), step=1
        )


def ends_as_none(wait: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """The wait, without its answer."""

    async def made() -> None:
        await wait()

    return made


def reads(bench: Bench, instance: str) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
    """All calls that only read, by the capabilities, with their names."""
    provider, capabilities = bench.provider, bench.backend.declaration.capabilities
    incarnation = incarnation_of(instance)
    yield "read_instance", lambda: provider.read_instance(instance)
    yield "read_history", lambda: provider.read_history(instance, 1, incarnation=incarnation)
    if VALUES in capabilities:
        yield "read_values", lambda: provider.read_values(instance)
    if MANAGEMENT not in capabilities:
        return
    admin = bench.admin
    yield "list_instances", lambda: admin.list_instances(limit=10)
    yield "list_executions", lambda: admin.list_executions(instance)
    yield "count_instances", lambda: admin.count_instances()
    yield "count_queues", lambda: admin.count_queues()
    yield "read_events", lambda: admin.read_events(instance, 1)
    if LISTING in capabilities:
        yield "find_instances", lambda: admin.find_instances(InstanceQuery(), limit=10)
        yield "read_work", lambda: admin.read_work(instance)


async def recover_through(times: Times, instance: str) -> None:
    """Reopen, terminate and delete the instance, as far as the provider can."""
    bench, provider = times.bench, times.bench.provider
    capabilities = bench.backend.declaration.capabilities
    incarnation = incarnation_of(instance)
    if RECOVERY in capabilities:
        again, end = reopening(1, instance), termination(instance)
        await times.through("reopen_instance", lambda: provider.reopen_instance(again))
        await times.through("terminate_instance", lambda: provider.terminate_instance(end))
    if DELETION not in capabilities:
        return
    await times.through(
        "prune_executions",
        lambda: provider.prune_executions(instance, incarnation=incarnation, before=2),
    )
    await times.through(
        "delete_early_events", lambda: provider.delete_early_events("early", limit=10)
    )
    await times.through(
        "delete_instance", lambda: provider.delete_instance(instance, incarnation=incarnation)
    )
    expect_equal(await provider.read_instance(instance), None, "a deleted instance")
