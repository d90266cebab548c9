"""Parts of ADMIN: listings and counts of instances that continue as new, end and come meanwhile."""

from __future__ import annotations

from perdure.contract import (
    InstanceStatus,
    Provider,
    ProviderAdmin,
    StoreMetrics,
    TurnRelease,
)

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.expect import ClauseBroken, expect, expect_equal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    LEASE,
    SECOND,
    event,
    restart,
    result,
    timer,
    work,
)

RUNNING = InstanceStatus.RUNNING
CONTINUED = InstanceStatus.CONTINUED_AS_NEW


async def all_pages(bench: Bench, *, limit: int, status: InstanceStatus | None = None) -> list[str]:
    """All pages of a listing together, read through two provider objects in turn."""
    other = admin_of(await bench.open())
    found: list[str] = []
    token: str | None = None
    place = 0
    while place == 0 or token is not None:
        admin = (bench.admin, other)[place % 2]
        page = await admin.list_instances(status=status, limit=limit, token=token)
        found.extend(page.ids)
        token = page.next_token
        place += 1
    return found


def admin_of(provider: Provider) -> ProviderAdmin:
    """The management capability of another provider object."""
    admin = provider.as_management_capability()
    if admin is None:
        raise ClauseBroken("as_management_capability is None although management is declared")
    return admin


async def continued_twice(bench: Bench, name: str) -> None:
    """An instance with 2, 3 and 1 events in its executions, the third of which runs, without work."""
    turn = await bench.started(name)
    bench.advance(SECOND)
    turn = await bench.keep(
        turn, events=(b"1", b"2"), add=(work("void"),), end=AGAIN, front=(restart(2, name),)
    )
    bench.advance(SECOND)
    turn = await bench.keep(
        turn, events=(b"1", b"2", b"3"), add=(), end=AGAIN, front=(restart(3, name),)
    )
    bench.advance(SECOND)
    await bench.commit(turn, events=(b"1",))


async def expect_listed_once(bench: Bench) -> None:
    """Complain unless an instance that continued as new twice is listed once, running and ended."""
    await continued_twice(bench, "twice")
    await continued_twice(bench, "ended")
    await bench.send(event("end", "ended"))
    await bench.commit(await bench.take("ended"), end=COMPLETED)
    for status, wanted in (
        (CONTINUED, {"ended", "twice"}),
        (RUNNING, {"twice"}),
        (InstanceStatus.COMPLETED, {"ended"}),
        (None, {"ended", "twice"}),
    ):
        for limit in (1, 100):
            listed = await all_pages(bench, limit=limit, status=status)
            found = sorted(each for each in listed if each in ("ended", "twice"))
            what = f"{status} instances that continued as new twice, in pages of {limit}"
            expect_equal(found, sorted(wanted), what)


async def expect_three_executions(bench: Bench) -> None:
    """Complain unless each of three executions has its own number, times and events."""
    begin = bench.now
    await continued_twice(bench, "thrice")
    admin = bench.admin
    found = [
        (each.execution, each.status, each.event_count, each.started_at, each.completed_at)
        for each in await admin.list_executions("thrice")
    ]
    step = (bench.now - begin) // 3
    wanted = [
        (1, CONTINUED, 2, begin, begin + step),
        (2, CONTINUED, 3, begin + step, begin + 2 * step),
        (3, RUNNING, 1, begin + 2 * step, None),
    ]
    expect_equal(found, wanted, "executions of an instance that continued as new twice")
    for execution, count in ((1, 2), (2, 3), (3, 1)):
        numbers: list[int] = []
        more = True
        while more:
            page = await admin.read_events("thrice", execution, after=len(numbers))
            expect(page.events or not page.more, "a page is empty although others follow")
            numbers.extend(each.number for each in page.events)
            more = page.more
        expect_equal(numbers, list(range(1, count + 1)), f"events of execution {execution}")
        page = await admin.read_events("thrice", execution, after=count)
        expect_equal((page.events, page.more), ((), False), f"events behind execution {execution}")


async def expect_events_counted(bench: Bench) -> None:
    """Complain unless counts have each execution and its events, while it runs and when it has ended."""
    before = await bench.admin.count_instances()
    await continued_twice(bench, "counted")
    after = StoreMetrics(
        total_instances=before.total_instances + 1,
        total_executions=before.total_executions + 3,
        running_instances=before.running_instances + 1,
        completed_instances=before.completed_instances,
        failed_instances=before.failed_instances,
        total_events=before.total_events + 6,
    )
    expect_equal(await bench.admin.count_instances(), after, "counts with three executions")
    await bench.send(event("end", "counted"))
    await bench.commit(await bench.take("counted"), events=(b"2", b"3"), end=COMPLETED)
    ended = StoreMetrics(
        total_instances=after.total_instances,
        total_executions=after.total_executions,
        running_instances=before.running_instances,
        completed_instances=before.completed_instances + 1,
        failed_instances=before.failed_instances,
        total_events=after.total_events + 2,
    )
    expect_equal(await bench.admin.count_instances(), ended, "counts when the third has ended")


async def expect_pages_by_status(bench: Bench) -> None:
    """Complain if a page by status misses or repeats an instance while others come and end."""
    names = [f"s-{n}" for n in range(5)]
    for status in (None, RUNNING, InstanceStatus.COMPLETED, CONTINUED):
        old = [f"{status}-{name}" for name in names]
        for name in old:
            await make(bench, name, status)
        found: list[str] = []
        token: str | None = None
        for count in range(40):
            page = await bench.admin.list_instances(status=status, limit=3, token=token)
            found.extend(page.ids)
            token = page.next_token
            if token is None:
                break
            await make(bench, f"{status}-new-{count}", status)
            if status is None and count < len(old):
                await end(bench, old[count])
        expect_equal(len(set(found)), len(found), f"distinct {status} ids, against ids listed")
        listed = sorted(each for each in found if each in old)
        expect_equal(listed, sorted(old), f"{status} instances that were there, on all pages")


async def make(bench: Bench, name: str, status: InstanceStatus | None) -> None:
    """An instance that a listing of this status has, without work."""
    turn = await bench.started(name)
    if status is CONTINUED:
        turn = await bench.keep(turn, end=AGAIN, front=(restart(2, name),))
    await bench.commit(turn, end=COMPLETED if status is InstanceStatus.COMPLETED else None)


async def end(bench: Bench, name: str) -> None:
    """End an instance that has no work."""
    await bench.send(event("end", name))
    await bench.commit(await bench.take(name), end=COMPLETED)


async def expect_depths(bench: Bench, expected: tuple[int, int, int], what: str) -> None:
    """Complain unless so many messages and activities wait, and so many messages are due later."""
    depths = await bench.admin.count_queues()
    found = (depths.orchestrator_queue, depths.worker_queue, depths.timer_queue)
    expect_equal(found, expected, what)


async def expect_depths_beside_delays(bench: Bench) -> None:
    """Complain unless depths count what is at the front or delayed, and nothing of earlier executions."""
    turn = await bench.with_activities(work("void"), work("later"), instance="depths")
    await bench.send(timer("void", bench.after(SECOND), "depths"), result("void too", "depths"))
    turn = await bench.keep(
        turn,
        remove=(),
        end=AGAIN,
        front=(restart(2, "depths"), event("front", "depths")),
        send=(event("later", "depths", visible_at=bench.after(LEASE)),),
    )
    turn = await bench.keep(
        turn, remove=("start-2",), add=(work("now"), work("hidden", visible_at=bench.after(LEASE)))
    )
    await expect_depths(bench, (0, 2, 1), "depths of a second execution")
    release = TurnRelease(lease=held_by(turn), delay=10 * SECOND)
    await bench.provider.release_turn(release)
    await expect_depths(bench, (1, 2, 1), "depths of a delayed instance")
