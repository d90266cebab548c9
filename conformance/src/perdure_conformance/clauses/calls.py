"""CALL: what holds for every call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from perdure.contract import (
    DELETION,
    LISTING,
    MANAGEMENT,
    RECOVERY,
    TRANSACTIONS,
    VALUES,
    ActivityCompletion,
    ActivityLease,
    InstanceQuery,
    InstanceStatus,
    OpenTransaction,
    Provider,
)
from perdure.errors import CapabilityMissing, StorageCorrupt

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    LEASE,
    SECOND,
    delivered,
    event,
    incarnation_of,
    reopening,
    result,
    termination,
    work,
)
from perdure_conformance.tampering import SPOILED_INSTANCES


@check("CALL-1")
async def time_comes_from_the_clock(bench: Bench) -> None:
    """Stamps, ends of leases, delays and visibility follow the clock given at open."""
    bench.advance(timedelta(days=3000))
    await bench.create()
    state = await bench.state()
    expect_equal((state.created_at, state.updated_at), (bench.now, bench.now), "times of creation")
    turn = await bench.take()
    expect_equal(turn.until, bench.after(LEASE), "end of the lease")
    bench.advance(SECOND)
    turn = await bench.keep(turn, add=(work("job"),), keep_for=LEASE)
    expect_equal((await bench.state()).updated_at, bench.now, "time of the commit")
    activity = await bench.take_work()
    expect_equal(
        (activity.added_at, activity.until),
        (bench.now, bench.after(LEASE)),
        "times of the activity",
    )


@check("CALL-4")
async def provider_objects_see_each_other(bench: Bench) -> None:
    """Every effect is seen through other provider objects on the same storage at once."""
    other = await bench.open()
    await bench.create()
    expect_equal((await bench.state(provider=other)).status, InstanceStatus.RUNNING, "status")
    expect_equal(await bench.history(provider=other), [], "events through another object")
    turn = await bench.take(provider=other)
    await bench.expect_nothing_ready("leased through another provider object")
    turn = await bench.keep(turn, events=(b"one",), add=(work("job"),))
    expect_equal(len(await bench.history(provider=other)), 1, "events through another object")
    expect_equal((await bench.state(provider=other)).last_event, 1, "last event through another")
    leased = await bench.lease_work(provider=other)
    expect_equal([each.id for each in leased], ["job"], "activities through another object")
    await bench.complete(leased[0])
    await other.send([event("late")])
    await bench.commit(turn)
    again = await bench.take(provider=other)
    expect_equal(delivered(again), ["result-job", "late"], "messages through another object")


@check("CALL-5")
async def sixteen_activities_can_be_finished(bench: Bench) -> None:
    """`finish_limit` is at least 16."""
    expect(bench.provider.finish_limit >= 16, f"finish_limit is {bench.provider.finish_limit}")


@check("CALL-8")
async def management_is_there_if_declared(bench: Bench) -> None:
    """`as_management_capability` gives an admin if and only if `management` is declared."""
    declared = MANAGEMENT in bench.backend.declaration.capabilities
    found = bench.provider.as_management_capability() is not None
    expect_equal(found, declared, "whether there is an admin, against what is declared")


async def find_all(provider: Provider) -> None:
    """Look for instances, where the provider manages any."""
    admin = provider.as_management_capability()
    if admin is None:
        raise CapabilityMissing(LISTING, provider.description)
    await admin.find_instances(InstanceQuery(), limit=1)


async def read_alpha(provider: Provider) -> None:
    """Look at the work of "alpha", where the provider manages any."""
    admin = provider.as_management_capability()
    if admin is None:
        raise CapabilityMissing(LISTING, provider.description)
    await admin.read_work("alpha")


METHODS: Mapping[str, Sequence[Callable[[Provider], Awaitable[object]]]] = {
    RECOVERY: (
        lambda provider: provider.reopen_instance(reopening()),
        lambda provider: provider.terminate_instance(termination()),
    ),
    DELETION: (
        lambda provider: provider.delete_instance("alpha", incarnation=incarnation_of("alpha")),
        lambda provider: provider.prune_executions(
            "alpha", incarnation=incarnation_of("alpha"), before=1
        ),
        lambda provider: provider.delete_early_events(None, limit=1),
        lambda provider: provider.delete_namespace(),
    ),
    VALUES: (lambda provider: provider.read_values("alpha"),),
    LISTING: (find_all, read_alpha),
    TRANSACTIONS: (
        lambda provider: provider.begin_transaction(blocking=False),
        lambda provider: provider.complete_in_transaction(
            OpenTransaction(None),
            ActivityCompletion(
                lease=ActivityLease(instance="alpha", activity="job", token="none"),
                message=result("result"),
            ),
        ),
        lambda provider: provider.roll_back(OpenTransaction(None)),
    ),
}
"""Calls of the methods that a capability of contract 1.1 brings."""


@check("CALL-12", since=(1, 1))
async def capabilities_are_declared_alike(bench: Bench) -> None:
    """The provider object has the capabilities that its package declares, and its methods of all others refuse and change nothing."""
    declared = bench.backend.declaration.capabilities & METHODS.keys()
    found = bench.provider.capabilities & METHODS.keys()
    expect_equal(sorted(found), sorted(declared), "capabilities of the provider object")
    admin = bench.provider.as_management_capability()
    expect(admin is not None or LISTING not in declared, "'listing' is declared without management")
    await bench.create()
    before = await bench.state()
    for capability in sorted(METHODS.keys() - declared):
        for method in METHODS[capability]:
            with expect_refusal(CapabilityMissing, f"a call of {capability}") as refusal:
                await method(bench.provider)
            expect_equal(refusal.error.capability, capability, "the capability that is missing")
    expect_equal(await bench.state(), before, "the instance after calls that were refused")


@check("CALL-9", tampering=SPOILED_INSTANCES)
async def a_spoiled_instance_hinders_no_other(bench: Bench) -> None:
    """An instance whose plain fields cannot be understood raises StorageCorrupt, is never leased, and delays no other instance."""
    for name in ("spoiled", "sound"):
        await bench.commit(await bench.started(name), events=(b"1",), add=(work(f"{name}-job"),))
    for name in ("spoiled", "sound"):
        await bench.send(event("go", name))
        bench.advance(SECOND)
    await bench.tampering.spoiled_instances.spoil_instance(bench.namespace, "spoiled")
    for provider in (bench.provider, await bench.open()):
        with expect_refusal(StorageCorrupt, "reading a spoiled instance") as refusal:
            await provider.read_instance("spoiled")
        expect("spoiled" in str(refusal.error), f"the error names no instance: {refusal.error}")
    turns = [*await bench.lease(limit=1), *await bench.lease(limit=1)]
    expect_equal([turn.state.instance for turn in turns], ["sound"], "instances leased one by one")
    await bench.commit(turns[0], events=(b"2",))
    looks = [await bench.lease_work(limit=1) for _ in range(2)]
    work_of = [each.instance for look in looks for each in look if each.instance != "spoiled"]
    expect_equal(
        work_of,
        ["sound"],
        "instances with activities in two looks for one, but for the spoiled one",
    )
    await bench.send(event("again", "sound"))
    await bench.create("new")
    found = {turn.state.instance for turn in await bench.lease()}
    expect_equal(found, {"sound", "new"}, "instances leased later")
    bench.advance(LEASE)
    found = {turn.state.instance for turn in await bench.lease()}
    expect_equal(found, {"sound", "new"}, "instances leased when the leases had run out")
