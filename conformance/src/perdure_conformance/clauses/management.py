"""ADMIN: the management capability."""

from __future__ import annotations

from perdure.contract import (
    MANAGEMENT,
    InstanceStatus,
    StoreMetrics,
    StoreQueueDepths,
)
from perdure.errors import InvalidInput

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.management_changes import (
    expect_depths,
    expect_depths_beside_delays,
    expect_events_counted,
    expect_listed_once,
    expect_pages_by_status,
    expect_three_executions,
)
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    FAILED,
    LEASE,
    SECOND,
    event,
    restart,
    result,
    timer,
    work,
)


async def listing(bench: Bench, *, limit: int, status: InstanceStatus | None = None) -> list[str]:
    """All pages of a listing together."""
    found: list[str] = []
    token: str | None = None
    while True:
        page = await bench.admin.list_instances(status=status, limit=limit, token=token)
        expect(len(page.ids) <= limit, f"a page of {len(page.ids)} at a limit of {limit}")
        found.extend(page.ids)
        token = page.next_token
        if token is None:
            return found


@check("ADMIN-1", needs=MANAGEMENT)
async def instances_are_listed(bench: Bench) -> None:
    """All ids are listed, newest first, in pages."""
    expect_equal(await listing(bench, limit=3), [], "a listing of nothing")
    await bench.send(event("waiting", "ghost"))
    names = ["m", "z", "a", "k", "b", "y", "c"]
    for name in names:
        bench.advance(SECOND)
        await bench.create(name)
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    bench.advance(SECOND)
    await bench.commit(turns["m"], events=(b"1",))
    await bench.commit(turns["k"], end=COMPLETED)
    for limit in (1, 3, 7, 100):
        found = await listing(bench, limit=limit)
        expect_equal(found, names[::-1], f"a listing in pages of {limit}")


@check("ADMIN-2", needs=MANAGEMENT)
async def instances_are_listed_by_status(bench: Bench) -> None:
    """A listing by status has exactly those of this status."""
    names = ("fresh", "run", "done", "failed", "again", "again done")
    for name in names:
        bench.advance(SECOND)
        await bench.create(name)
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    await bench.commit(turns["run"], events=(b"1",))
    await bench.commit(turns["done"], end=COMPLETED)
    await bench.commit(turns["failed"], end=FAILED)
    await bench.commit(turns["again"], end=AGAIN, front=(restart(2, "again"),))
    turn = await bench.keep(turns["again done"], end=AGAIN, front=(restart(2, "again done"),))
    await bench.commit(turn, end=COMPLETED)
    expected = {
        InstanceStatus.RUNNING: ["again", "run", "fresh"],
        InstanceStatus.COMPLETED: ["again done", "done"],
        InstanceStatus.FAILED: ["failed"],
        InstanceStatus.CONTINUED_AS_NEW: ["again done", "again"],
    }
    for status, wanted in expected.items():
        for limit in (1, 100):
            found = await listing(bench, limit=limit, status=status)
            expect_equal(found, wanted, f"a listing of {status} in pages of {limit}")
    await bench.commit(await bench.take("again"))
    await expect_listed_once(bench)


@check("ADMIN-3", needs=MANAGEMENT)
async def pages_have_no_gaps(bench: Bench) -> None:
    """An instance that existed at the first page is on exactly one page, also if others come and end meanwhile."""
    names = [f"i-{n}" for n in range(9)]
    for name in names:
        await bench.create(name)
    page = await bench.admin.list_instances(limit=4)
    found = list(page.ids)
    count = 0
    while page.next_token is not None:
        count += 1
        await bench.create(f"new-{count}")
        page = await bench.admin.list_instances(limit=4, token=page.next_token)
        found.extend(page.ids)
    old = [name for name in found if not name.startswith("new")]
    expect_equal(sorted(old), names, "the instances that were there, on all pages")
    expect_equal(len(set(found)), len(found), "distinct ids, against ids listed")
    for turn in await bench.lease():
        await bench.commit(turn)
    await expect_pages_by_status(bench)


@check("ADMIN-4", needs=MANAGEMENT)
async def a_strange_token_is_refused(bench: Bench) -> None:
    """A page token that the provider did not give is refused."""
    await bench.create()
    for token in ("", "certainly not a token", "\x00", "-1", "é"):
        with expect_refusal(InvalidInput, f"the token {token!r}"):
            await bench.admin.list_instances(limit=3, token=token)


@check("ADMIN-5", needs=MANAGEMENT)
async def executions_are_described(bench: Bench) -> None:
    """Executions have number, status, output, count of events and times."""
    began = bench.now
    turn = await bench.started()
    bench.advance(SECOND)
    turn = await bench.keep(turn, events=(b"1", b"2"), end=AGAIN, front=(restart(2),))
    second = bench.now
    bench.advance(SECOND)
    turn = await bench.keep(turn, events=(b"1",))
    admin = bench.admin
    found = await admin.list_executions("alpha")
    expect_equal([each.execution for each in found], [1, 2], "numbers of executions")
    first, now = found
    expect_equal(
        (first.status, first.output, first.event_count, first.started_at, first.completed_at),
        (InstanceStatus.CONTINUED_AS_NEW, b"next", 2, began, second),
        "the first execution",
    )
    expect_equal(
        (now.status, now.output, now.event_count, now.started_at, now.completed_at),
        (InstanceStatus.RUNNING, None, 1, second, None),
        "the running execution",
    )
    expect_equal(await admin.read_execution("alpha", 1), first, "the first, read alone")
    await bench.commit(turn, end=COMPLETED)
    last = await bench.admin.read_execution("alpha", 2)
    expect(last is not None, "the second execution cannot be read")
    if last is not None:
        expect_equal(
            (last.status, last.output, last.event_count, last.completed_at),
            (InstanceStatus.COMPLETED, b"done", 1, bench.now),
            "the ended execution",
        )
    for instance, execution in (("alpha", 3), ("alpha", 0), ("absent", 1)):
        found_one = await admin.read_execution(instance, execution)
        expect_equal(found_one, None, f"execution {execution} of {instance}")
    expect_equal(len(await admin.list_executions("absent")), 0, "executions of an absent instance")
    for instance, numbers in (("alpha", [1, 2]), ("absent", [])):
        listed = list(await admin.list_execution_numbers(instance))
        expect_equal(listed, numbers, f"numbers of the executions of {instance}")
    await expect_three_executions(bench)


@check("ADMIN-6", needs=MANAGEMENT)
async def events_of_any_execution_are_read(bench: Bench) -> None:
    """The events of any execution are read in pages, also when the instance has ended."""
    turn = await bench.started()
    many = tuple(b"%d" % n for n in range(1, 1301))
    turn = await bench.keep(turn, events=many, end=AGAIN, front=(restart(2),))
    await bench.commit(turn, events=(b"x",), end=COMPLETED)
    for execution, wanted in ((1, list(many)), (2, [b"x"])):
        found: list[bytes] = []
        more = True
        while more:
            page = await bench.admin.read_events("alpha", execution, after=len(found))
            numbers = [each.number for each in page.events]
            begin = len(found) + 1
            expect_equal(numbers, list(range(begin, begin + len(numbers))), "numbers of events")
            found.extend(each.data for each in page.events)
            more = page.more
            expect(numbers or not more, "a page is empty although others follow")
        expect_equal(found, wanted, f"events of execution {execution}")
    for instance, execution in (("alpha", 3), ("absent", 1)):
        page = await bench.admin.read_events(instance, execution)
        expect_equal((page.events, page.more), ((), False), f"events of {instance} {execution}")


@check("ADMIN-7", needs=MANAGEMENT)
async def figures_add_up(bench: Bench) -> None:
    """Counts of instances, executions and events add up."""
    expect_equal(await bench.admin.count_instances(), StoreMetrics(), "counts of nothing")
    for name in ("fresh", "run", "done", "failed", "again"):
        await bench.create(name)
    await bench.send(event("waiting", "ghost"))
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    await bench.commit(turns["run"], events=(b"1", b"2"))
    await bench.commit(turns["done"], events=(b"1",), end=COMPLETED)
    await bench.commit(turns["failed"], events=(b"1",), end=FAILED)
    turn = await bench.keep(turns["again"], events=(b"1",), end=AGAIN, front=(restart(2, "again"),))
    await bench.commit(turn, events=(b"1", b"2", b"3"))
    expected = StoreMetrics(
        total_instances=5,
        total_executions=6,
        running_instances=3,
        completed_instances=1,
        failed_instances=1,
        total_events=8,
    )
    expect_equal(await bench.admin.count_instances(), expected, "counts")
    for turn in (*await bench.lease(), turns["fresh"]):
        await bench.commit(turn)
    await expect_events_counted(bench)


@check("ADMIN-8", needs=MANAGEMENT)
async def queues_are_counted(bench: Bench) -> None:
    """The depths of queues count all that waits, and nothing that is void."""
    expect_equal(await bench.admin.count_queues(), StoreQueueDepths(), "depths of nothing")
    await bench.send(
        event("waiting", "ghost"), event("waiting", "other", visible_at=bench.after(LEASE))
    )
    await bench.send(result("void", "ghost"))
    turn = await bench.with_activities(work("leased"), work("one"), work("two"))
    await bench.lease_work(limit=1)
    await bench.create("beta")
    await bench.send(
        event("e-1", "beta"),
        timer("t-1", bench.after(LEASE), "beta"),
        event("e-2"),
        timer("t-2", bench.after(LEASE)),
        result("void", incarnation="another"),
    )
    await expect_depths(bench, (2, 2, 2), "depths while a turn is leased")
    await bench.commit(turn, remove=())
    await expect_depths(bench, (3, 2, 2), "depths after its release")
    bench.advance(LEASE)
    await expect_depths(bench, (5, 3, 0), "depths when timers and leases are due")
    turns = {turn.state.instance: turn for turn in await bench.lease()}
    await bench.commit(turns["alpha"], remove=(), end=COMPLETED)
    await expect_depths(bench, (0, 0, 0), "depths after an end, beta leased")
    await bench.commit(turns["beta"], remove=(), end=COMPLETED)
    await expect_depths_beside_delays(bench)
