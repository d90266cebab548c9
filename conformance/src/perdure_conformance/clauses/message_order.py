"""Parts of MAIL-1 to MAIL-9: the order and the time of messages where clocks, kinds and lives differ."""

from __future__ import annotations

from datetime import timedelta

from perdure.clock import ManualClock, to_datetime, to_microseconds
from perdure.contract import ActivityCompletion

from perdure_conformance.bench import Bench
from perdure_conformance.expect import expect_equal
from perdure_conformance.samples import (
    AGAIN,
    COMPLETED,
    SECOND,
    delivered,
    event,
    restart,
    result,
    timer,
    work,
)

INSTANT = timedelta(microseconds=1)
YEAR = timedelta(days=365)
FAR = {
    "31 days": timedelta(days=31),
    "400 days": timedelta(days=400),
    "9 years": 9 * YEAR,
    "80 years": 80 * YEAR,
    "170 years": 170 * YEAR,
}
"""Past what other queues allow a delay to be, and what 31 and 32 bits of seconds hold: the clock of a
check begins in 2030."""


async def expect_all_kinds_in_order(bench: Bench) -> None:
    """Complain if results of activities, events, and messages of commits overtake one another."""
    turn = await bench.with_activities(work("first"), work("second"), instance="kinds")
    jobs = {each.id: each for each in await bench.lease_work()}
    sender = await bench.started("sender")
    await bench.commit(turn)
    wanted: list[str] = []
    for round_ in ("first", "second"):
        await bench.send(event(f"event-{round_}", "kinds"))
        done = result(f"result-{round_}", "kinds")
        await bench.provider.complete_activity(
            ActivityCompletion(lease=jobs[round_].lease, message=done)
        )
        sent = (event(f"sent-{round_}", "kinds"), result(f"child-{round_}", "kinds"))
        sender = await bench.keep(sender, send=sent)
        wanted += [f"event-{round_}", f"result-{round_}", f"sent-{round_}", f"child-{round_}"]
    turn = await bench.take("kinds")
    expect_equal(delivered(turn), wanted, "messages of several kinds and ways, in order")
    await bench.commit(turn, end=COMPLETED)
    await bench.commit(sender, end=COMPLETED)


async def expect_far_timers(bench: Bench) -> None:
    """Complain unless timers that are due in many years wait exactly so long."""
    await bench.send(event("early", "far", visible_at=bench.after(FAR["400 days"])))
    turn = await bench.started("far")
    begin = bench.now
    await bench.commit(
        turn, send=tuple(timer(name, bench.after(wait), "far") for name, wait in FAR.items())
    )
    for name, wait in FAR.items():
        passed = bench.now - begin
        bench.advance(timedelta(microseconds=to_microseconds(wait) - passed) - INSTANT)
        await bench.expect_nothing_ready(f"one microsecond before a timer of {name}")
        bench.advance(INSTANT)
        turn = await bench.take("far")
        due = ["early", name] if name == "400 days" else [name]
        expect_equal(sorted(delivered(turn)), sorted(due), f"messages after {name}")
        await bench.commit(turn)


async def expect_order_by_other_clocks(bench: Bench) -> None:
    """Complain if the clock of the object that sends decides the order of what it sends."""
    present = to_datetime(bench.now)
    behind = await bench.open(clock=ManualClock(present - timedelta(hours=1)))
    ahead = await bench.open(clock=ManualClock(present + 30 * SECOND))
    senders = [bench.provider, behind, ahead, bench.provider, behind, bench.provider]
    await bench.create("skewed")
    wanted = [f"e-{place}" for place in range(len(senders))]
    for each, sender in zip(wanted, senders, strict=True):
        await sender.send([event(each, "skewed")])
    turn = await bench.take("skewed")
    expect_equal(delivered(turn), ["start", *wanted], "messages by objects with other clocks")
    await bench.commit(turn, end=COMPLETED)


async def expect_early_ids_held_once(bench: Bench) -> None:
    """Complain unless of early events with one id the first is kept, also when the instance is there."""
    other = await bench.open()
    await bench.send(event("one", "late", data=b"first"), event("one", "late", data=b"second"))
    await bench.send(event("two", "late", data=b"first"), event("start", "late"))
    await other.send([event("one", "late", data=b"third")])
    await bench.create("late")
    await other.send([event("two", "late", data=b"second")])
    turn = await bench.pick("late")
    found = [(message.id, message.data) for message in turn.messages]
    wanted = [("start", b"start"), ("one", b"first"), ("two", b"first")]
    expect_equal(found, wanted, "early events, each id once, and the start")
    await bench.commit(turn, end=COMPLETED)


async def expect_scheduled_ids_held(bench: Bench) -> None:
    """Complain unless a message that is not visible yet holds its id, and a void one does not."""
    await bench.send()
    await bench.commit(await bench.started("scheduled"))
    due = bench.after(SECOND)
    await bench.send(timer("timer", due, "scheduled"), result("void", "scheduled", execution=2))
    await bench.send(event("timer", "scheduled", data=b"second"))
    await bench.expect_nothing_ready("a message was sent whose id a timer holds")
    await bench.send(event("void", "scheduled", data=b"free"))
    turn = await bench.take("scheduled")
    found = [message.data for message in turn.messages]
    expect_equal(found, [b"free"], "a message whose id a void one had")
    turn = await bench.keep(turn, send=(result("old", "scheduled"),))
    turn = await bench.keep(turn, remove=(), end=AGAIN, front=(restart(2, "scheduled"),))
    await bench.send(event("old", "scheduled", data=b"new"), event("timer", "scheduled"))
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), ["old", "timer"], "messages whose ids an execution had")
    await bench.commit(turn, end=COMPLETED)


async def expect_later_executions_void(bench: Bench) -> None:
    """Complain if a message for an execution that has not begun is delivered, then or later."""
    turn = await bench.started("later")
    await bench.send(result("sent", "later", execution=2))
    turn = await bench.keep(turn, send=(result("committed", "later", execution=2),))
    expect_equal(delivered(turn), [], "messages that name a later execution")
    await bench.commit(turn)
    await bench.send(result("again", "later", execution=2))
    await bench.expect_nothing_ready("only messages of a later execution")
    await bench.send(event("go", "later"))
    turn = await bench.take("later")
    turn = await bench.keep(turn, end=AGAIN, front=(restart(2, "later"),))
    expect_equal(delivered(turn), ["start-2"], "messages that named an execution before it began")
    await bench.commit(turn, end=COMPLETED)
