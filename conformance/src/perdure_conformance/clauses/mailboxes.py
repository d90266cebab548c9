"""MAIL: messages, their order and their delivery."""

from __future__ import annotations

from datetime import timedelta

from perdure.contract import (
    MAX_MESSAGES_PER_DELIVERY,
    ExecutionEnd,
    InstanceStatus,
    MessageKind,
)

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.message_order import (
    expect_all_kinds_in_order,
    expect_early_ids_held_once,
    expect_far_timers,
    expect_later_executions_void,
    expect_order_by_other_clocks,
    expect_scheduled_ids_held,
)
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.samples import (
    COMPLETED,
    LEASE,
    SECOND,
    delivered,
    event,
    ids,
    restart,
    result,
    timer,
)


@check("MAIL-1")
async def messages_come_in_order(bench: Bench) -> None:
    """Messages are delivered whole, in the order of their arrival."""
    await bench.create()
    sent = [result("z", kind=MessageKind.CHILD, data=b"z"), event("a", data=b"a"), event("m")]
    await bench.send(*sent)
    await bench.send(event("k"))
    await bench.send(result("c", kind=MessageKind.CANCEL, execution=None), event("b"))
    turn = await bench.take()
    expect_equal(delivered(turn), ["start", "z", "a", "m", "k", "c", "b"], "messages in order")
    expect_equal(list(turn.messages[1:4]), sent, "the messages themselves")
    await bench.commit(turn, end=COMPLETED)
    await expect_all_kinds_in_order(bench)


@check("MAIL-2")
async def messages_wait_for_their_time(bench: Bench) -> None:
    """A message is delivered, and makes ready, from its `visible_at` on and not before."""
    turn = await bench.started()
    due = bench.after(60 * SECOND)
    await bench.commit(turn)
    await bench.send(timer("timer", due), event("later", visible_at=due + 1))
    bench.advance(60 * SECOND - timedelta(microseconds=1))
    await bench.expect_nothing_ready("one microsecond before the timer")
    bench.advance(timedelta(microseconds=1))
    turn = await bench.take()
    expect_equal(delivered(turn), ["timer"], "messages at the timer's instant")
    bench.advance(timedelta(microseconds=1))
    await bench.commit(turn)
    turn = await bench.take()
    expect_equal(delivered(turn), ["later"], "messages a microsecond later")
    await bench.commit(turn, end=COMPLETED)
    await expect_far_timers(bench)


@check("MAIL-3")
async def the_order_is_start_then_due_time(bench: Bench) -> None:
    """The start is first, then messages go by due time, and by arrival at equal times."""
    begin = bench.now
    await bench.send(event("early"), event("tied", visible_at=begin + 3_000_000))
    bench.advance(SECOND)
    await bench.create()
    bench.advance(SECOND)
    await bench.send(
        timer("t3", begin + 3_000_000),
        event("at2"),
        timer("t1", begin + 1_000_000),
        timer("t3b", begin + 3_000_000),
    )
    bench.advance(2 * SECOND)
    await bench.send(event("at4"), timer("t3c", begin + 3_000_000))
    expect_equal(
        delivered(await bench.take()),
        ["start", "early", "t1", "at2", "tied", "t3", "t3b", "t3c", "at4"],
        "messages in order",
    )


@check("MAIL-4")
async def a_clock_that_steps_back_hides_nothing(bench: Bench) -> None:
    """A message without `visible_at` is visible at once, and in its place, after a step back."""
    await bench.create()
    await bench.send(event("before"))
    bench.clock.step_back(timedelta(hours=1))
    await bench.send(event("after"))
    bench.advance(SECOND)
    await bench.send(event("last"))
    turn = await bench.take()
    expect_equal(delivered(turn), ["start", "before", "after", "last"], "messages in order")
    await bench.commit(turn, end=COMPLETED)
    await expect_order_by_other_clocks(bench)


@check("MAIL-5")
async def a_message_id_is_held_once(bench: Bench) -> None:
    """A second message of an id is dropped while the first is held."""
    await bench.create()
    await bench.send(event("one", data=b"first"), event("two"))
    await bench.send(event("one", data=b"second"))
    await bench.send(event("two"), event("three"), event("three"))
    turn = await bench.take()
    expect_equal(delivered(turn), ["start", "one", "two", "three"], "messages in order")
    expect_equal(turn.messages[1].data, b"first", "the payload that was held")
    await bench.send(event("one"))
    await bench.commit(turn)
    await bench.expect_nothing_ready("a duplicate was sent while its first was leased")
    await bench.send(event("one", data=b"again"))
    turn = await bench.take()
    expect_equal([m.data for m in turn.messages], [b"again"], "the id, free again")
    await bench.commit(turn)
    await expect_scheduled_ids_held(bench)
    await expect_early_ids_held_once(bench)


@check("MAIL-6")
async def events_for_absent_instances_wait(bench: Bench) -> None:
    """Events for ids that don't exist are kept and delay no instance."""
    await bench.provider.send([event("event", f"ghost-{n:03}") for n in range(300)])
    await bench.expect_nothing_ready("only events for absent ids were sent")
    await bench.create("zebra")
    turns = await bench.lease(limit=1)
    expect_equal([t.state.instance for t in turns], ["zebra"], "leased among waiting events")
    await bench.commit(turns[0])
    bench.advance(timedelta(days=30))
    await bench.create("ghost-123")
    expect_equal(delivered(await bench.take("ghost-123")), ["start", "event"], "what was kept")


@check("MAIL-7")
async def other_messages_to_absent_instances_are_void(bench: Bench) -> None:
    """Only external events wait for an instance; other messages are never delivered."""
    kinds = [kind for kind in MessageKind if kind is not MessageKind.EVENT]
    await bench.send(*(result(f"m-{kind}", kind=kind, execution=None) for kind in kinds))
    await bench.expect_nothing_ready("messages to an absent instance were sent")
    await bench.create()
    expect_equal(delivered(await bench.take()), ["start"], "messages of the instance made later")


@check("MAIL-8")
async def another_incarnations_messages_are_void(bench: Bench) -> None:
    """A message that names another incarnation is never delivered and makes nothing ready."""
    turn = await bench.started()
    await bench.send(result("void-1", incarnation="another"))
    turn = await bench.keep(turn)
    expect_equal(delivered(turn), [], "messages in the answer")
    await bench.commit(turn)
    await bench.send(result("void-2", incarnation="another", execution=None))
    await bench.expect_nothing_ready("only a message for another incarnation")
    await bench.send(event("good"))
    expect_equal(delivered(await bench.take()), ["good"], "messages of this incarnation")


@check("MAIL-9")
async def an_earlier_executions_messages_are_void(bench: Bench) -> None:
    """A message that names another execution than the current one is never delivered and makes nothing ready."""
    turn = await bench.started()
    due = bench.after(SECOND)
    turn = await bench.keep(turn, send=(timer("old-timer", due), result("old-result")))
    await bench.commit(
        turn,
        remove=(),
        send=(timer("own-timer", due), result("own-result")),
        end=ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW),
        front=(restart(2),),
    )
    await bench.send(result("late-result", execution=1))
    bench.advance(2 * SECOND)
    turn = await bench.take()
    expect_equal(delivered(turn), ["start-2"], "messages of the second execution")
    await bench.commit(turn)
    await bench.send(result("later-result", execution=1))
    await bench.expect_nothing_ready("only messages of an earlier execution")
    await expect_later_executions_void(bench)


@check("MAIL-10")
async def an_ended_instances_messages_are_void(bench: Bench) -> None:
    """A message to an ended instance is never delivered and makes nothing ready."""
    for status in (InstanceStatus.COMPLETED, InstanceStatus.FAILED):
        instance = f"{status}"
        turn = await bench.started(instance)
        await bench.send(event("unread", instance))
        await bench.commit(
            turn,
            send=(event("to-self", instance, visible_at=bench.after(SECOND)),),
            end=ExecutionEnd(status=status),
        )
        await bench.send(event("late", instance), result("late-result", instance))
        bench.advance(LEASE)
        await bench.expect_nothing_ready(f"messages to a {status} instance were sent")


@check("MAIL-11")
async def mailboxes_are_apart(bench: Bench) -> None:
    """Message ids are unique within one mailbox only, and one send reaches many."""
    names = [f"box-{n}" for n in range(5)]
    for name in names:
        await bench.create(name)
    await bench.send(*(event("same", name, data=name.encode()) for name in names))
    while turns := await bench.lease(limit=1):
        turn = turns[0]
        name = turn.state.instance
        expect_equal(delivered(turn), ["start", "same"], f"messages of {name}")
        expect_equal(turn.messages[1].data, name.encode(), f"payload of {name}")
        names.remove(name)
        await bench.commit(turn)
    expect_equal(names, [], "mailboxes that were not reached")
    await bench.expect_nothing_ready("each mailbox was emptied")


@check("MAIL-14")
async def thousands_of_messages_are_delivered(bench: Bench) -> None:
    """5,000 messages to one instance are delivered all, in order, each once."""
    wanted = [f"e-{n:05}" for n in range(5000)]
    for begin in range(0, len(wanted), 500):
        await bench.provider.send([event(each) for each in wanted[begin : begin + 500]])
    await bench.create()
    turn = await bench.take()
    found = delivered(turn)
    while turn.more:
        if len(found) % 4000 < 1000:
            await bench.commit(turn)
            turn = await bench.take()
        else:
            turn = await bench.keep(turn)
        expect(turn.messages, "a delivery is empty although more is said to wait")
        found.extend(delivered(turn))
    expect_equal(len(found), 5001, "messages delivered")
    expect_equal(found, ["start", *wanted], "messages in order")


@check("MAIL-16")
async def a_cancellation_waits_behind_nothing(bench: Bench) -> None:
    """A cancellation is in the next delivery, however many messages are before it, and in no later one."""
    count = 2 * MAX_MESSAGES_PER_DELIVERY
    sent = [event(f"e-{n:05}") for n in range(count)]
    await bench.provider.send(sent)
    await bench.create()
    await bench.send(result("cancel", kind=MessageKind.CANCEL, execution=None), event("last"))
    wanted = ["start", *ids(sent), "last"]
    turn = await bench.take()
    expect_equal(
        (delivered(turn), turn.more), ([*wanted[:1000], "cancel"], True), "the first delivery"
    )
    turn = await bench.keep(turn, remove=(), held=frozenset(delivered(turn)))
    expect_equal(delivered(turn), wanted[1000:2000], "delivered next, while the first are held")
    turn = await bench.keep(turn, remove=("cancel",))
    expect_equal(delivered(turn), wanted[:1000], "delivered after the cancellation was consumed")
