"""CALL: what holds for every call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta

from perdure.contract import (
    DELETION,
    LISTING,
    MANAGEMENT,
    RECOVERY,
    VALUES,
    InstanceQuery,
    InstanceStatus,
    Provider,
    Serves,
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
    new_instance,
    reopening,
    termination,
    work,
)
from perdure_conformance.tampering import SPOILED_INSTANCES

ODD = (
    "a",
    "A",
    "a ",
    " a",
    "a#1",
    "a/1",
    "a|1",
    "a:1",
    "a\\1",
    "a'b",
    'a"b',
    "a%2F1",
    "a%",
    "a_",
    "a*?[x]",
    "..",
    "é",
    "e\N{COMBINING ACUTE ACCENT}",
    "日本",
    "\N{ROCKET}",
    "\N{LATIN SMALL LETTER SHARP S}",
    "ss",
    "x" * 511 + "1",
    "x" * 511 + "2",
    "\N{GREEK SMALL LETTER OMEGA}" * 256,
)
"""Texts that a storage confuses or refuses if it joins, folds, escapes or cuts keys."""

LARGEST = 16 * 1024 * 1024 + 64 * 1024


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


@check("CALL-2")
async def records_are_not_shared(bench: Bench) -> None:
    """Returned records never change, and what was passed in may change."""
    await bench.create()
    sent = [event("one"), event("two")]
    await bench.provider.send(sent)
    sent.clear()
    versions = {"flow": frozenset({"1.0.0"})}
    turns = await bench.lease(token="mine", serves=Serves(orchestrations=versions))
    versions.clear()
    seen = [(turn.state, delivered(turn), turn.attempt, turn.until, turn.more) for turn in turns]
    state = await bench.state()
    state_seen = repr(state)
    turn = turns[0]
    bench.advance(SECOND)
    await bench.send(event("three"))
    page_before = await bench.provider.read_history("alpha", 1, incarnation=incarnation_of("alpha"))
    await bench.keep(turn, events=(b"1",), remove=("start",), version="1.0.0", engine=1)
    expect_equal(
        [(turn.state, delivered(turn), turn.attempt, turn.until, turn.more) for turn in turns],
        seen,
        "a leased turn after later calls",
    )
    expect_equal(repr(state), state_seen, "an instance's state after later calls")
    expect_equal(page_before.events, (), "a page of history after a later commit")
    again = await bench.lease(token="mine")
    expect_equal(delivered(again[0]), ["one", "two", "three"], "messages of the kept lease")


@check("CALL-3")
async def namespaces_are_independent(bench: Bench) -> None:
    """Nothing of one namespace is seen in another."""
    there = await bench.open(namespace=bench.namespace + "-x")
    await there.create_instance(new_instance("alpha", data=b"there"))
    await there.send([event("waiting", "beta")])
    await bench.expect_nothing_ready("work of another namespace")
    expect_equal(await bench.provider.read_instance("alpha"), None, "another namespace's instance")
    await bench.create("alpha")
    await bench.create("beta")
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    expect_equal(delivered(turns["beta"]), ["start"], "messages of an id that both have")
    expect_equal(turns["alpha"].messages[0].data, b"start", "start of an id that both have")
    await bench.commit(turns["alpha"], add=(work("job"),))
    theirs = await bench.lease(provider=there)
    expect_equal([t.messages[0].data for t in theirs], [b"there"], "turns of the other namespace")
    expect_equal(len(await bench.lease_work(provider=there)), 0, "activities of another namespace")


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


@check("CALL-6")
async def odd_texts_are_kept_apart(bench: Bench) -> None:
    """Ids, names, versions, tags and tokens are kept exactly and never confused."""
    for odd in ODD:
        await bench.create(new_instance(odd, incarnation=odd, name=odd, version=odd))
    served = Serves(orchestrations={odd: frozenset({odd}) for odd in ODD})
    for odd in ODD:
        await bench.send(*(event(f"e-{other}", odd) for other in (odd,)))
    turns = {turn.state.instance: turn for turn in await bench.lease(token=ODD[-1], serves=served)}
    expect_equal(sorted(turns), sorted(ODD), "ids that come back")
    for odd, turn in turns.items():
        state = turn.state
        expect_equal((state.incarnation, state.name, state.version), (odd,) * 3, "fields")
        expect_equal(delivered(turn), ["start", f"e-{odd}"], f"messages of {odd!r}")
    await bench.all_well(
        bench.commit(turn, events=(odd.encode(),), add=tuple(work(o, name=o, tag=o) for o in ODD))
        for odd, turn in turns.items()
    )
    for odd in ODD:
        leased = await bench.lease_work(
            token=odd, names=frozenset({odd}), tags=frozenset({odd}), limit=1000
        )
        found = {(each.instance, each.id, each.name, each.tag) for each in leased}
        expect_equal(found, {(i, odd, odd, odd) for i in ODD}, f"activities named {odd!r}")
        history = await bench.history(odd, incarnation=odd)
        expect_equal([each.data for each in history], [odd.encode()], f"history of {odd!r}")


@check("CALL-7")
async def payloads_are_kept_exactly(bench: Bench) -> None:
    """Any bytes, no bytes, and 16 MiB come back unchanged."""
    every_byte = bytes(range(256)) * 2
    large = every_byte * (LARGEST // len(every_byte))
    for name, data in (("empty", b""), ("odd", every_byte), ("large", large)):
        await bench.create(new_instance(name, data=data))
        await bench.send(event("event", name, data=data))
        turn = await bench.take(name)
        expect(turn.messages[0].data == data, f"the {name} start came back changed")
        turn = await bench.keep(
            turn, events=(data, b"next"), remove=("start",), add=(work("job", data=data),)
        )
        expect_equal(delivered(turn), ["event"], "messages after the start")
        expect(turn.messages[0].data == data, f"the {name} event came back changed")
        activity = await bench.take_work()
        expect(activity.data == data, f"the {name} input of an activity came back changed")
        history = await bench.history(name)
        expect([each.data for each in history] == [data, b"next"], f"the {name} history changed")


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
    work_of = [each.instance for each in await bench.lease_work() if each.instance != "spoiled"]
    expect_equal(work_of, ["sound"], "instances with activities, but for the spoiled one")
    await bench.send(event("again", "sound"))
    await bench.create("new")
    found = {turn.state.instance for turn in await bench.lease()}
    expect_equal(found, {"sound", "new"}, "instances leased later")
    bench.advance(LEASE)
    found = {turn.state.instance for turn in await bench.lease()}
    expect_equal(found, {"sound", "new"}, "instances leased when the leases had run out")
