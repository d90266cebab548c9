"""HIST and READ: histories and plain fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from perdure.contract import (
    MAX_BYTES_PER_DELIVERY,
    MAX_MESSAGES_PER_DELIVERY,
    ExecutionEnd,
    HistoryPage,
    InstanceStatus,
    ParkedMark,
    TurnRelease,
)
from perdure.errors import ExecutionNotFound, InstanceNotFound, StorageCorrupt

from perdure_conformance.bench import Bench, held_by
from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal, expect_refusal
from perdure_conformance.samples import LEASE, SECOND, event, incarnation_of, restart, work
from perdure_conformance.tampering import LOST_EVENTS, RAW_HISTORY

AGAIN = ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW)


@check("HIST-1")
async def events_are_read_in_pages(bench: Bench) -> None:
    """Events come in order and without gaps, from any number on."""
    turn = await bench.started()
    wanted = [b"%d" % number for number in range(1, 1201)]
    turn = await bench.keep(turn, events=tuple(wanted[:7]))
    await bench.commit(turn, events=tuple(wanted[7:]))
    events = await bench.history()
    expect_equal([each.number for each in events], list(range(1, 1201)), "numbers")
    expect_equal([each.data for each in events], wanted, "payloads")
    for after in (1, 1199, 1200, 5000):
        page = await bench.provider.read_history(
            "alpha", 1, incarnation=incarnation_of("alpha"), after=after
        )
        first = [each.number for each in page.events[:1]]
        expect_equal(first, [after + 1] if after < 1200 else [], f"first after {after}")
        expect_equal(
            page.more, bool(first) and page.events[-1].number < 1200, f"more after {after}"
        )
    await expect_full_pages(bench)


async def expect_full_pages(bench: Bench) -> None:
    """Complain if a page says that others follow where it has just room for all events."""
    large = bytes(MAX_BYTES_PER_DELIVERY * 3 // 5)
    for name, payloads in (
        ("small", [b"1"] * (MAX_MESSAGES_PER_DELIVERY + 1)),
        ("large", [large] * 3),
    ):
        count = len((await first_page_of(bench, name, payloads)).events)
        expect_equal(len(await bench.history(name)), len(payloads), f"{name} events, in pages")
        page = await first_page_of(bench, f"{name}, full", payloads[:count])
        found = (len(page.events), page.more)
        expect_equal(found, (count, False), f"a page that has all {name} events, and more")


async def first_page_of(bench: Bench, instance: str, payloads: Sequence[bytes]) -> HistoryPage:
    """The first page of a new history with these events."""
    await bench.commit(await bench.started(instance), events=tuple(payloads))
    return await bench.provider.read_history(instance, 1, incarnation=incarnation_of(instance))


@check("HIST-2")
async def a_holder_reads_every_commit(bench: Bench) -> None:
    """The holder of a lease reads all earlier commits, through any provider object."""
    objects = [bench.provider, await bench.open(), await bench.open()]
    await bench.create()
    for number in range(9):
        provider = objects[number % 3]
        turn = await bench.take(provider=provider)
        expect_equal(turn.state.last_event, number, "the last event of the lease")
        events = await bench.history(provider=provider)
        expect_equal(len(events), number, "events read by the holder")
        await provider.send([event(f"next-{number}")])
        await provider.commit_turn(bench.draft(turn, events=(b"%d" % number,)))


@check("HIST-3")
async def unknown_histories_are_refused(bench: Bench) -> None:
    """Another incarnation, an absent instance and an unknown execution raise their errors; an empty history does not."""
    await bench.create()
    right = incarnation_of("alpha")
    page = await bench.provider.read_history("alpha", 1, incarnation=right)
    expect_equal((page.events, page.more), ((), False), "the page of a new execution")
    with expect_refusal(InstanceNotFound, "a history of another incarnation"):
        await bench.provider.read_history("alpha", 1, incarnation="another")
    with expect_refusal(InstanceNotFound, "a history of an absent instance"):
        await bench.provider.read_history("absent", 1, incarnation=incarnation_of("absent"))
    for execution in (0, 2):
        with expect_refusal(ExecutionNotFound, f"a history of execution {execution}"):
            await bench.provider.read_history("alpha", execution, incarnation=right)


@check("HIST-4")
async def each_execution_has_its_history(bench: Bench) -> None:
    """Histories of earlier executions stay apart, and stay."""
    turn = await bench.started()
    for execution in (1, 2, 3):
        turn = await bench.keep(turn, events=(b"%d.1" % execution, b"%d.2" % execution))
        turn = await bench.keep(
            turn, events=(b"%d.3" % execution,), end=AGAIN, front=(restart(execution + 1),)
        )
    await bench.commit(turn, events=(b"4.1",))
    for execution in (1, 2, 3):
        found = [(each.number, each.data) for each in await bench.history("alpha", execution)]
        wanted = [(number, b"%d.%d" % (execution, number)) for number in (1, 2, 3)]
        expect_equal(found, wanted, f"history of execution {execution}")
    found = [(each.number, each.data) for each in await bench.history("alpha", 4)]
    expect_equal(found, [(1, b"4.1")], "history of execution 4")


@check("HIST-5")
async def large_histories_are_read_whole(bench: Bench) -> None:
    """Thousands of events, and events of a megabyte, are read whole."""
    turn = await bench.started()
    large = b"x" * 1_000_000
    for part in range(4):
        events = (*(b"%d" % number for number in range(1500)), large + b"%d" % part, large)
        turn = await bench.keep(turn, events=events)
    events = await bench.history()
    expect_equal(len(events), 4 * 1502, "events read")
    expect_equal([each.number for each in events], list(range(1, 4 * 1502 + 1)), "numbers")
    for part in range(4):
        found = events[part * 1502 + 1500].data
        expect(found == large + b"%d" % part, f"large event {part} came back changed")


@check("HIST-6", tampering=LOST_EVENTS)
async def a_lost_event_is_noticed(bench: Bench) -> None:
    """A history that has lost an event is refused as corrupt, and never given with a gap or too short."""
    for name, lost, count in (
        ("first", 1, 5),
        ("middle", 3, 5),
        ("last", 5, 5),
        ("far", 1400, 1500),
    ):
        turn = await bench.started(name)
        await bench.commit(turn, events=tuple(b"%d" % number for number in range(count)))
        await bench.tampering.lost_events.lose_event(bench.place(lost, instance=name))
        for provider in (bench.provider, await bench.open()):
            with expect_refusal(StorageCorrupt, f"a history without event {lost}") as refusal:
                await bench.history(name, provider=provider)
            expect(name in str(refusal.error), f"the error does not name {name!r}: {refusal.error}")
    await others_go_on(bench)


@check("HIST-7", tampering=RAW_HISTORY)
async def a_changed_event_is_not_left_out(bench: Bench) -> None:
    """An event whose bytes were changed is given as it is or refused as corrupt, and never left out."""
    for name, data in (("cut", b"tw"), ("empty", b""), ("garbage", b"\x00\xff{")):
        turn = await bench.started(name)
        await bench.commit(turn, events=(b"one", b"two", b"three"))
        await bench.tampering.raw_history.replace_event(bench.place(2, instance=name), data)
        try:
            found = [(each.number, each.data) for each in await bench.history(name)]
        except StorageCorrupt as error:
            expect(name in str(error), f"the error does not name {name!r}: {error}")
        else:
            wanted = [(1, b"one"), (2, data), (3, b"three")]
            expect_equal(found, wanted, "a history with a changed event")
    await others_go_on(bench)


async def others_go_on(bench: Bench) -> None:
    """Complain unless an instance beside the damaged ones can be run and read."""
    turn = await bench.started("sound")
    turn = await bench.keep(turn, events=(b"1", b"2"))
    await bench.commit(turn, events=(b"3",))
    found = [each.data for each in await bench.history("sound")]
    expect_equal(found, [b"1", b"2", b"3"], "the history of another instance")


@check("READ-1")
async def plain_fields_are_read(bench: Bench) -> None:
    """The plain fields are as the last call left them; an unknown id has none."""
    expect_equal(await bench.provider.read_instance("alpha"), None, "an unknown instance")
    await bench.send(event("waiting"))
    expect_equal(await bench.provider.read_instance("alpha"), None, "one with waiting events")
    turn = await bench.started()
    other = await bench.open()
    bench.advance(SECOND)
    turn = await bench.keep(turn, id="c-1", events=(b"1", b"2"))
    state = await bench.state(provider=other)
    expect_equal(
        (state.last_event, state.last_commit, state.updated_at, state.created_at),
        (2, "c-1", bench.now, turn.state.created_at),
        "fields after a commit",
    )
    bench.advance(LEASE / 2)
    await bench.commit(
        turn, id="c-2", end=ExecutionEnd(status=InstanceStatus.COMPLETED, output=b"out")
    )
    state = await bench.state(provider=other)
    expect_equal(
        (state.status, state.output, state.last_commit, state.updated_at),
        (InstanceStatus.COMPLETED, b"out", "c-2", bench.now),
        "fields after the end",
    )
    await expect_updated_by_commits_alone(bench)


async def expect_updated_by_commits_alone(bench: Bench) -> None:
    """Complain if anything but a commit moves `updated_at`, or changes another field than the mark."""
    turn = await bench.with_activities(work("job"), instance="still")
    before = await bench.state("still")
    bench.advance(SECOND)
    await bench.send(event("event", "still"), event("cancel", "still"))
    job = await bench.take_work()
    await bench.provider.renew_turns([held_by(turn)], lease_for=LEASE)
    await bench.provider.renew_activities([job.lease], lease_for=LEASE)
    await bench.complete(job)
    expect_equal(await bench.state("still"), before, "fields after messages and renewals")
    mark = ParkedMark(reason="unregistered", details="waits")
    await bench.provider.release_turn(TurnRelease(lease=held_by(turn), parked=mark))
    bench.advance(SECOND)
    await bench.lease(limit=1)
    state = await bench.state("still")
    expect_equal(state.parked and state.parked.details, "waits", "the mark of a release")
    expect_equal(replace(state, parked=None), before, "fields after a release and a lease")
