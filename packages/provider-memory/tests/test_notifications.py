"""Waits end early: by work, by time, over provider objects and over threads."""

import asyncio
import threading
from datetime import timedelta

import pytest
from perdure.contract import ChangeWait, ManualClock, NewActivity, Serves, SystemClock, WorkWait
from perdure_memory import MemoryOptions, MemoryProvider, drop

SECOND = timedelta(seconds=1)
SERVES = Serves(orchestrations={"order": frozenset()})


@pytest.fixture
def pair(new_bench):
    """Two provider objects on one named store and one clock."""
    clock = ManualClock()
    options = MemoryOptions(name="pair")
    yield new_bench(options, clock), new_bench(options, clock)
    drop("pair")


def waiting(bench, **fields):
    fields.setdefault("serves", SERVES)
    return asyncio.create_task(
        bench.provider.wait_for_work(WorkWait(timeout=60 * SECOND, **fields))
    )


async def test_work_that_is_there_ends_the_wait_at_once(bench):
    await bench.create()
    wait = waiting(bench)
    await bench.settle()

    assert wait.done()


async def test_work_that_another_provider_object_makes_ends_the_wait(pair):
    here, there = pair
    wait = waiting(here)
    await here.settle()
    assert not wait.done()

    await there.create()
    await asyncio.wait_for(wait, 5)


async def test_work_of_names_that_are_not_served_does_not_end_the_wait(pair):
    here, there = pair
    wait = waiting(here)
    await there.create("strange", name="strange")
    await here.settle()

    assert not wait.done()
    here.clock.advance(60 * SECOND)
    await asyncio.wait_for(wait, 5)


async def test_the_end_of_a_lease_and_of_a_delay_and_a_due_timer_end_the_wait(pair):
    here, there = pair
    await there.create()
    turn = await there.lease_one(lease_for=10 * SECOND)
    wait = waiting(here)
    await here.settle()
    assert not wait.done()
    here.clock.advance(10 * SECOND)
    await asyncio.wait_for(wait, 5)

    turn = await there.lease_one()
    await there.commit(turn, send=(there.message("timer", visible_at=there.after(20)),))
    wait = waiting(here)
    await here.settle()
    here.clock.advance(19 * SECOND)
    await here.settle()
    assert not wait.done()
    here.clock.advance(SECOND)
    await asyncio.wait_for(wait, 5)


async def test_a_timer_that_is_set_while_one_waits_is_waited_for(pair):
    here, there = pair
    await there.create()
    turn = await there.lease_one()
    wait = waiting(here)
    await here.settle()
    await there.commit(turn, send=(there.message("timer", visible_at=there.after(5)),))
    await here.settle()

    assert not wait.done()
    here.clock.advance(5 * SECOND)
    await asyncio.wait_for(wait, 5)


async def test_an_activity_ends_the_wait_of_those_who_have_its_name(pair):
    here, there = pair
    await there.create()
    turn = await there.lease_one()
    charging = waiting(here, serves=None, activity_names=frozenset({"charge"}))
    shipping = waiting(here, serves=None, activity_names=frozenset({"ship"}))
    await here.settle()
    await there.commit(turn, add=(NewActivity(id="1", name="charge", data=b""),))

    await asyncio.wait_for(charging, 5)
    assert not shipping.done()
    here.clock.advance(60 * SECOND)
    await asyncio.wait_for(shipping, 5)


async def test_providers_whose_clocks_differ_do_not_keep_each_other_awake(new_bench):
    ahead_clock = ManualClock()
    ahead_clock.advance(5 * SECOND)
    options = MemoryOptions(name="skew")
    behind, ahead = new_bench(options), new_bench(options, ahead_clock)
    await behind.create()
    await behind.commit(
        await behind.lease_one(), send=(behind.message("timer", visible_at=behind.after(3)),)
    )
    looks = 0
    look = ahead.provider._next_work

    def counted_look(wait):
        nonlocal looks
        looks += 1
        return look(wait)

    ahead.provider._next_work = counted_look
    waits = [waiting(behind), waiting(ahead, serves=Serves(orchestrations={}))]
    for _ in range(10):
        await behind.settle()

    assert looks < 10
    for bench in (behind, ahead):
        bench.clock.advance(60 * SECOND)
    await asyncio.wait_for(asyncio.gather(*waits), 5)
    drop("skew")


async def test_a_change_ends_the_wait_and_an_unchanged_instance_does_not(pair):
    here, there = pair
    wait = ChangeWait(instance="a", timeout=60 * SECOND, exists=False)
    task = asyncio.create_task(here.provider.wait_for_change(wait))
    await here.settle()
    assert not task.done()
    await there.create()
    await asyncio.wait_for(task, 5)

    wait = ChangeWait(instance="a", timeout=60 * SECOND)
    task = asyncio.create_task(here.provider.wait_for_change(wait))
    await there.provider.send([there.message("e")])
    turn = await there.lease_one()
    await here.settle()
    assert not task.done()
    await there.commit(turn)
    await asyncio.wait_for(task, 5)
    await asyncio.wait_for(here.provider.wait_for_change(wait), 5)


async def test_a_cancelled_wait_leaves_no_listener(bench):
    wait = asyncio.create_task(
        bench.provider.wait_for_change(ChangeWait(instance="a", timeout=60 * SECOND, exists=False))
    )
    work = waiting(bench)
    await bench.settle()
    for task in (wait, work):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await bench.settle()

    assert bench.clock.next_due is None
    assert not bench.provider._store._change_subscribers
    assert not bench.provider._store.turn_subscribers._subscriptions


async def test_work_made_in_another_thread_ends_the_wait(new_bench):
    options = MemoryOptions(name="threads")
    here = MemoryProvider(options, clock=SystemClock())
    new = new_bench().new()
    task = asyncio.create_task(here.wait_for_work(WorkWait(timeout=60 * SECOND, serves=SERVES)))
    await asyncio.sleep(0)

    def create():
        asyncio.run(MemoryProvider(options, clock=SystemClock()).create_instance(new))

    thread = threading.Thread(target=create)
    thread.start()
    await asyncio.wait_for(task, 5)
    thread.join()
    drop("threads")
