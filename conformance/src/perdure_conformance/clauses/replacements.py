"""DELETE-6 to DELETE-10: replacing an instance, and deleting executions, early events and a namespace."""

from __future__ import annotations

from dataclasses import replace

from perdure.contract import (
    DELETION,
    MANAGEMENT,
    InstanceStatus,
    NewChild,
    NewInstance,
    Provider,
    StoreMetrics,
    StoreQueueDepths,
)
from perdure.errors import (
    ExecutionNotFound,
    InstanceAlreadyExists,
    InstanceNotFound,
    InvalidInput,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.clauses.deletion import OLD, ended
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    SECOND,
    delivered,
    event,
    incarnation_of,
    new_instance,
    restart,
    work,
)

MANY = 60
"""More events than one request of some storages deletes."""


def replacement(incarnation: str, *, replaces: str, instance: str = "alpha") -> NewInstance:
    """An instance to create in place of an ended one."""
    return replace(new_instance(instance, incarnation=incarnation), replaces=replaces)


@check("DELETE-6", since=(1, 1), needs=DELETION)
async def an_ended_instance_is_replaced(bench: Bench) -> None:
    """`replaces` deletes the ended instance of that incarnation in the same step; a running one, or another, is refused."""
    new = replacement("new", replaces=OLD)
    turn = await bench.started()
    before = await bench.state()
    with expect_refusal(
        InstanceAlreadyExists, "a create in place of a running instance"
    ) as refusal:
        await bench.create(new)
    expect_equal(refusal.error.instance, "alpha", "the instance that the error names")
    expect_equal(await bench.state(), before, "the running instance")
    await bench.commit(turn, events=(b"1",), end=COMPLETED)
    before = await bench.state()
    with expect_refusal(InstanceAlreadyExists, "a create in place of another incarnation"):
        await bench.create(replacement("new", replaces="another"))
    with expect_refusal(InstanceAlreadyExists, "a create in place of none"):
        await bench.create(replace(new, replaces=None))
    expect_equal(await bench.state(), before, "the ended instance")
    await bench.send(event("late"))
    bench.advance(SECOND)
    await bench.create(new)
    state = await bench.state(provider=await bench.open())
    found = (state.incarnation, state.status, state.last_event, state.created_at, state.output)
    wanted = ("new", InstanceStatus.RUNNING, 0, bench.now, None)
    expect_equal(found, wanted, "the instance that replaced an ended one")
    await bench.create(new)
    turn = await bench.take()
    expect_equal(turn.messages, (new.start,), "its messages")
    with expect_refusal(InstanceNotFound, "the history of the replaced instance"):
        await bench.history()
    await bench.commit(turn, events=(b"1",), end=COMPLETED)
    after = await bench.state()
    await bench.create(new)
    expect_equal(await bench.state(), after, "the ended instance after a repeat")
    await bench.expect_nothing_ready("a create that replaced was repeated")
    bench.advance(SECOND)
    await bench.send(event("early", "free"))
    await bench.create(replacement("new", replaces="gone", instance="free"))
    turn = await bench.take("free")
    expect_equal(delivered(turn), ["start", "early"], "an instance that replaces none")
    child = replacement("newer", replaces="new")
    with expect_refusal(InvalidInput, "a commit whose child replaces an instance"):
        await bench.commit(turn, create=(NewChild(instance=child),))
    expect_equal(await bench.state(), after, "the instance that the child would replace")
    await expect_listed_newest_first(bench, ["free", "alpha"])


async def expect_listed_newest_first(bench: Bench, wanted: list[str]) -> None:
    """Complain unless a listing has these ids, where the provider has one."""
    if MANAGEMENT in bench.backend.declaration.capabilities:
        page = await bench.admin.list_instances(limit=10)
        expect_equal(list(page.ids), wanted, "a listing")


@check("DELETE-7", since=(1, 1), needs=DELETION)
async def one_of_many_replacements_wins(bench: Bench) -> None:
    """Of concurrent creations that replace one instance exactly one succeeds."""
    objects = [bench.provider, await bench.open()]
    for number in range(5):
        name = f"i-{number}"
        await bench.commit(await bench.started(name), events=(b"1",), end=COMPLETED)
        old = incarnation_of(name)
        news = [replacement(f"new-{n}", replaces=old, instance=name) for n in range(6)]
        outcomes = await bench.all_of(
            objects[n % 2].create_instance(new) for n, new in enumerate(news)
        )
        won = [new for new, outcome in zip(news, outcomes, strict=True) if outcome is None]
        lost = [outcome for outcome in outcomes if isinstance(outcome, InstanceAlreadyExists)]
        expect_equal((len(won), len(lost)), (1, 5), "creates that succeeded and were refused")
        turn = await bench.take(name)
        expect_equal(turn.state.incarnation, won[0].incarnation, "the incarnation that won")
        expect_equal(turn.messages, (won[0].start,), "the start that is delivered")
        await bench.commit(turn, end=COMPLETED)


@check("DELETE-8", since=(1, 1), needs=DELETION)
async def old_executions_are_deleted(bench: Bench) -> None:
    """Pruned executions are gone from all reads, and the others, at least the current one, are as before."""
    turn = await bench.started()
    for number in (2, 3, 4):
        events = tuple(b"%d" % each for each in range(MANY))
        turn = await bench.keep(turn, events=events, end=AGAIN, front=(restart(number),))
    turn = await bench.keep(turn, events=(b"now",), add=(work("job"),))
    before = await bench.state()
    third = await bench.history(execution=3)
    await expect_pruned(bench, 3, deleted=2)
    await expect_pruned(bench, 3, deleted=0)
    expect_equal(await bench.history(execution=3), third, "an execution that was not pruned")
    await expect_executions(bench, [3, 4], events=MANY + 1, continued=True)
    await expect_pruned(bench, 100, deleted=1)
    await expect_executions(bench, [4], events=1, continued=False)
    expect_equal(await bench.state(), before, "the instance after its executions were pruned")
    for wrong in ("another", None):
        name, incarnation = ("alpha", wrong) if wrong else ("absent", OLD)
        with expect_refusal(InstanceNotFound, "a pruning of another incarnation, or of none"):
            await bench.provider.prune_executions(name, incarnation=incarnation, before=9)
    turn = await bench.keep(turn, events=(b"more",))
    expect_equal((await bench.take_work()).execution, 4, "the execution of the activity")
    turn = await bench.keep(turn, end=AGAIN, front=(restart(5),))
    await bench.commit(turn, events=(b"last",), end=COMPLETED)
    ended_as = await bench.state()
    await expect_pruned(bench, 5, deleted=1)
    expect_equal(await bench.state(), ended_as, "an ended instance whose executions were pruned")
    events = [each.data for each in await bench.history(execution=5)]
    expect_equal(events, [b"last"], "its last execution")
    await bench.provider.delete_instance("alpha", incarnation=OLD)
    expect_equal(await bench.provider.read_instance("alpha"), None, "it, when it was deleted")


async def expect_pruned(bench: Bench, before: int, *, deleted: int) -> None:
    """Prune, and complain if another number of executions was deleted, or one can be read."""
    found = await bench.provider.prune_executions("alpha", incarnation=OLD, before=before)
    expect_equal(found, deleted, f"executions pruned below {before}")
    for execution in range(1, min(before, (await bench.state()).execution)):
        with expect_refusal(ExecutionNotFound, f"the history of pruned execution {execution}"):
            await bench.history(execution=execution, provider=await bench.open())


async def expect_executions(
    bench: Bench, numbers: list[int], *, events: int, continued: bool
) -> None:
    """Complain unless management knows of these executions alone."""
    if MANAGEMENT not in bench.backend.declaration.capabilities:
        return
    admin = bench.admin
    found = [each.execution for each in await admin.list_executions("alpha")]
    expect_equal(found, numbers, "executions after a pruning")
    expect_equal(list(await admin.list_execution_numbers("alpha")), numbers, "their numbers")
    for number in range(1, numbers[0]):
        expect_equal(await admin.read_execution("alpha", number), None, "a pruned execution")
        expect_equal((await admin.read_events("alpha", number)).events, (), "its events")
    count = await admin.count_instances()
    wanted = (len(numbers), events)
    expect_equal((count.total_executions, count.total_events), wanted, "counts after a pruning")
    page = await admin.list_instances(status=InstanceStatus.CONTINUED_AS_NEW, limit=10)
    expect_equal(page.ids, ("alpha",) if continued else (), "a listing of those that continued")


@check("DELETE-9", since=(1, 1), needs=DELETION)
async def early_events_are_deleted(bench: Bench) -> None:
    """Events that wait for an instance are deleted by id, by age and up to a limit; no others are."""
    provider = bench.provider
    await bench.create("running")
    await bench.send(*(event(f"old-{n}", "a") for n in range(4)), event("mine", "running"))
    await bench.send(event("old-0", "b", visible_at=bench.after(LEASE)), event("old-1", "b"))
    bench.advance(SECOND)
    border = bench.now
    await bench.send(event("new", "a"), event("new", "b"), event("new", "c"))
    deleted = await provider.delete_early_events("running", limit=10)
    expect_equal(deleted, 0, "events of an instance that exists")
    deleted = await provider.delete_early_events("unknown", limit=10)
    expect_equal(deleted, 0, "events of an id that has none")
    deleted = await provider.delete_early_events("a", arrived_before=border, limit=3)
    expect_equal(deleted, 3, "old events of one id, up to three")
    await bench.create("a")
    found = delivered(await bench.pick("a"))
    expect(
        len(found) == 3 and found[0] == "start" and found[2] == "new" and found[1] != "new",
        f"messages after three of four old events were deleted: {found}",
    )
    deleted = await provider.delete_early_events(None, arrived_before=border, limit=10)
    expect_equal(deleted, 2, "old events of all ids")
    deleted = await provider.delete_early_events(None, arrived_before=border, limit=10)
    expect_equal(deleted, 0, "a repeat")
    bench.advance(2 * LEASE)
    await bench.create("b")
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    expect_equal(delivered(turns["b"]), ["start", "new"], "messages of b")
    expect_equal(delivered(turns["running"]), ["start", "mine"], "messages of a running instance")
    deleted = await provider.delete_early_events("c", limit=1)
    expect_equal(deleted, 1, "events of c")
    await bench.send(event("new", "c"), event("newest", "c"))
    await bench.create("c")
    expect_equal(delivered(await bench.take("c")), ["start", "new", "newest"], "messages of c")
    deleted = await provider.delete_early_events(None, limit=10)
    expect_equal(deleted, 0, "events when every id has an instance")


@check("DELETE-10", since=(1, 1), needs=DELETION)
async def a_namespace_is_deleted(bench: Bench) -> None:
    """Everything in the namespace is gone, other namespaces are as before, and the provider objects go on."""
    other = await bench.open()
    there = await bench.open(namespace=bench.namespace + "-x")
    await there.create_instance(new_instance("there"))
    await there.send([event("early", "ghost")])
    await ended(bench, "ended")
    turn = await bench.with_activities(work("leased"), work("waiting"))
    await bench.lease_work(limit=1)
    await bench.send(
        event("e"), event("early", "ghost"), event("e-2", visible_at=bench.after(LEASE))
    )
    await bench.provider.delete_namespace()
    await other.delete_namespace()
    for provider in (bench.provider, other, await bench.open()):
        await expect_empty(bench, provider)
    fresh = new_instance(incarnation="new")
    await other.create_instance(fresh)
    gone = await bench.provider.renew_turns([held_by(turn)], lease_for=LEASE)
    expect_equal(gone, frozenset({held_by(turn)}), "turn leases gone with the namespace")
    turn = await bench.take(lease_for=4 * LEASE)
    expect_equal(turn.messages, (fresh.start,), "messages of an instance that came afterwards")
    turn = await bench.keep(turn, events=(b"1",), add=(work("job"),), keep_for=4 * LEASE)
    await bench.take_work()
    bench.advance(2 * LEASE)
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), [], "messages that were due later")
    await bench.create("ghost")
    expect_equal(delivered(await bench.take("ghost")), ["start"], "events that had waited")
    await there.create_instance(new_instance("ghost"))
    turns = {each.state.instance: each for each in await bench.lease(provider=there)}
    expect_equal(delivered(turns["there"]), ["start"], "an instance of another namespace")
    expect_equal(delivered(turns["ghost"]), ["start", "early"], "its events that wait")


async def expect_empty(bench: Bench, provider: Provider) -> None:
    """Complain if a provider object finds anything."""
    for name in ("alpha", "ended"):
        expect_equal(await provider.read_instance(name), None, f"{name} of a deleted namespace")
    await bench.expect_nothing_ready("the namespace was deleted", provider=provider)
    found = await bench.lease_work(provider=provider)
    expect_equal(len(found), 0, "activities of a deleted namespace")
    admin = provider.as_management_capability()
    if admin is not None:
        expect_equal((await admin.list_instances(limit=10)).ids, (), "a listing")
        expect_equal(await admin.count_instances(), StoreMetrics(), "counts")
        expect_equal(await admin.count_queues(), StoreQueueDepths(), "depths")
