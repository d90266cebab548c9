"""Waiting: woken by what this process commits, by the passing of time, and by other processes."""

import asyncio
import sqlite3
from datetime import timedelta

import pytest
from perdure.contract import (
    CancellationWait,
    ChangeWait,
    Clock,
    ExecutionEnd,
    InstanceStatus,
    Message,
    MessageKind,
    NewActivity,
    ParkedMark,
    Serves,
    SystemClock,
    TurnLease,
    TurnRelease,
    WorkWait,
)
from perdure.errors import StorageClosed
from perdure_sqlite import SQLiteProvider
from perdure_sqlite._waiting import polling

HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=30)
SERVES = Serves(orchestrations={"process": frozenset()})


def work(**fields) -> WorkWait:
    return WorkWait(**{"timeout": HOUR, "serves": SERVES, **fields})


async def started(call) -> "asyncio.Future[None]":
    waiting = asyncio.ensure_future(call)
    for _ in range(10):
        await asyncio.sleep(0)
    return waiting


async def test_work_that_is_there_ends_the_wait_at_once(desk, make):
    provider = await desk.open()
    await provider.create_instance(make.new("a"))

    await provider.wait_for_work(work())


async def test_work_that_comes_ends_the_wait(desk, make):
    provider = await desk.open()
    waiting = await started(provider.wait_for_work(work()))
    assert not waiting.done()

    await provider.create_instance(make.new("a"))

    await asyncio.wait_for(waiting, 10)


async def test_a_wait_for_cancellations_ends_at_the_close_between_two_looks(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    work = NewActivity(id="1", name="work", data=b"")
    await provider.commit_turn(make.commit(turn, add=(work,)))
    [activity] = await desk.activities(provider)
    wait = CancellationWait(leases=(activity.lease,), timeout=HOUR)
    waiting = await started(provider.wait_for_cancellation(wait))
    for waiter in provider.opened.notifications._all():
        waiter.wake_for_other_process()
    for _ in range(10):  # it has looked, and looks again only after a pause
        await asyncio.sleep(0)
    await provider.__aexit__(None, None, None)

    with pytest.raises(StorageClosed):
        await asyncio.wait_for(waiting, 10)


async def test_work_that_is_not_served_does_not_end_the_wait(desk, make):
    provider = await desk.open()
    waiting = await started(provider.wait_for_work(work()))

    await provider.create_instance(make.new("a", name="other"))
    for _ in range(20):
        await asyncio.sleep(0)

    assert not waiting.done()
    desk.clock.advance(HOUR)
    await waiting


async def test_a_waiter_that_was_woken_for_nothing_looks_once_and_sleeps_again(desk, make):
    provider = await desk.open()
    waiting = await started(provider.wait_for_work(work()))
    looks: list[str] = []
    provider.opened.database.reader.set_trace_callback(looks.append)

    await provider.create_instance(make.new("a", name="other"))
    for _ in range(50):
        await asyncio.sleep(0)

    assert len(looks) == 1
    desk.clock.advance(HOUR)
    await waiting


async def test_a_message_that_becomes_due_ends_the_wait(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    due = desk.clock.now() + 60_000_000
    timer = Message(id="t", instance="a", kind=MessageKind.TIMER, data=b"", visible_at=due)
    waiting = await started(provider.wait_for_work(work()))
    await provider.commit_turn(make.commit(turn, remove=("start",), send=(timer,)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()

    desk.clock.advance(timedelta(seconds=60))

    await asyncio.wait_for(waiting, 10)


async def test_a_lease_that_runs_out_ends_the_wait(desk, make):
    provider = await desk.open()
    waiting = await started(provider.wait_for_work(work(serves=Serves(orchestrations={}))))
    await desk.leased(provider, "a")
    waiting.cancel()
    waiting = await started(provider.wait_for_work(work()))

    desk.clock.advance(LEASE)

    await asyncio.wait_for(waiting, 10)


async def test_an_activity_ends_the_wait_of_those_who_ask_for_it(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    asked = WorkWait(timeout=HOUR, activity_names=frozenset({"work"}))
    other = WorkWait(timeout=HOUR, activity_names=frozenset({"rest"}))
    waiting, resting = [await started(provider.wait_for_work(each)) for each in (asked, other)]

    await provider.commit_turn(make.commit(turn, add=(NewActivity(id="1", name="work", data=b""),)))

    await asyncio.wait_for(waiting, 10)
    assert not resting.done()
    desk.clock.advance(HOUR)
    await resting


async def test_the_timeout_ends_the_wait_even_if_the_clock_steps_back(desk):
    provider = await desk.open()
    waiting = await started(provider.wait_for_work(work()))
    desk.clock.step_back(timedelta(minutes=30))

    desk.clock.advance(HOUR)

    await asyncio.wait_for(waiting, 10)


async def test_a_change_ends_the_wait_for_it(desk, make):
    provider = await desk.open()
    waiting = await started(
        provider.wait_for_change(ChangeWait(instance="a", timeout=HOUR, exists=False))
    )
    await provider.create_instance(make.new("b"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()

    await provider.create_instance(make.new("a"))

    await asyncio.wait_for(waiting, 10)


async def test_a_parked_mark_is_a_change(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    waiting = await started(provider.wait_for_change(ChangeWait(instance="a", timeout=HOUR)))

    lease = TurnLease(instance="a", token=turn.token)
    mark = ParkedMark(reason="unregistered", details="no runtime has it")
    await provider.release_turn(TurnRelease(lease=lease, parked=mark))

    await asyncio.wait_for(waiting, 10)


async def test_a_waiter_for_the_end_sleeps_through_other_commits(desk, make):
    provider = await desk.open()
    turn = await desk.leased(provider, "a")
    wait = ChangeWait(instance="a", timeout=HOUR, until_ended=True)
    waiting = await started(provider.wait_for_change(wait))
    await provider.commit_turn(make.commit(turn, keep_for=LEASE))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()

    await provider.commit_turn(make.commit(turn, end=ExecutionEnd(status=InstanceStatus.COMPLETED)))

    await asyncio.wait_for(waiting, 10)


class CountingClock(SystemClock):
    """Counts how often a call sleeps, and how long."""

    def __init__(self) -> None:
        self.sleeps: list[float] = []

    async def sleep(self, duration: timedelta) -> None:
        self.sleeps.append(duration.total_seconds())
        await super().sleep(duration)


@pytest.mark.slow
async def test_commits_of_other_processes_end_the_wait(desk, make):
    clock: Clock = SystemClock()
    here, there = await desk.open(clock=clock), await desk.open(clock=clock)
    wait = work(timeout=timedelta(seconds=30))
    change = ChangeWait(instance="a", timeout=timedelta(seconds=30), exists=False)
    waiting = [
        await started(here.wait_for_work(wait)),
        await started(here.wait_for_change(change)),
    ]

    began = clock.now()
    await there.create_instance(make.new("a"))
    await asyncio.gather(*waiting)

    assert clock.now() - began < 5_000_000


def has_looked(provider: SQLiteProvider) -> None:
    """As if the poller had looked before: its first look takes any version for a new one."""
    opened = provider.opened
    opened.notifications._poller._version = opened._read_version()


async def test_a_commit_of_another_process_is_noticed_before_the_next_look_is_due(
    desk, make, monkeypatch
):
    for interval in ("_SHORTEST_INTERVAL", "_USUAL_INTERVAL", "_LONGEST_INTERVAL"):
        monkeypatch.setattr(polling, interval, HOUR)
    here, there = await desk.open(clock=SystemClock()), await desk.open()
    has_looked(here)
    waiting = await started(here.wait_for_work(work()))
    watch = here.opened.notifications._poller._watch
    if not watch.is_supported:
        waiting.cancel()
        pytest.skip("this system tells of no writes")
    assert watch._is_armed

    await there.create_instance(make.new("a"))

    await asyncio.wait_for(waiting, 10)


async def test_a_commit_of_another_process_wakes_only_those_whom_it_concerns(desk, make):
    here, there = await desk.open(clock=SystemClock()), await desk.open()
    has_looked(here)
    waits = {
        instance: await started(
            here.wait_for_change(ChangeWait(instance=instance, timeout=HOUR, exists=False))
        )
        for instance in "abc"
    }
    looks: list[str] = []
    here.opened.database.reader.set_trace_callback(looks.append)

    await there.create_instance(make.new("b"))
    await asyncio.wait_for(waits.pop("b"), 10)

    assert [each.done() for each in waits.values()] == [False, False]
    # One look at each, and of the call that is woken its own look and the state.
    assert sum(text.startswith("SELECT") for text in looks) == 5
    for each in waits.values():
        each.cancel()


async def test_calls_look_for_themselves_where_the_common_look_fails(desk, make, monkeypatch):
    here, there = await desk.open(clock=SystemClock()), await desk.open()

    def fail(*given: object) -> None:
        raise sqlite3.DatabaseError("a page is damaged")

    monkeypatch.setattr(here.opened.notifications, "_wake_each_changed", fail)
    wait = ChangeWait(instance="a", timeout=HOUR, exists=False)
    waiting = await started(here.wait_for_change(wait))

    await there.create_instance(make.new("a"))

    await asyncio.wait_for(waiting, 10)


@pytest.mark.slow
async def test_an_idle_provider_asks_less_and_less_often(desk):
    clock = CountingClock()
    provider = await desk.open(clock=clock)

    await provider.wait_for_work(work(timeout=timedelta(seconds=0.8)))

    polls = [duration for duration in clock.sleeps if duration < 0.1]
    assert polls[0] == pytest.approx(0.005)
    assert 0.05 <= polls[-1] <= 0.07
    assert len(polls) < 40


async def test_nothing_is_asked_while_nothing_waits(desk, make):
    clock = CountingClock()
    provider = await desk.open(clock=clock)
    await provider.create_instance(make.new("a"))
    await provider.wait_for_work(work())
    for _ in range(20):
        await asyncio.sleep(0)

    assert len(clock.sleeps) <= 1
