"""MAIL: messages, their order, and who gets them."""

from __future__ import annotations

from datetime import timedelta

from perdure.contract import (
    MAX_BYTES_PER_DELIVERY,
    MAX_MESSAGES_PER_DELIVERY,
    ExecutionEnd,
    InstanceStatus,
    MessageKind,
)

from perdure_conformance.check import check
from perdure_conformance.expect import expect, expect_equal
from perdure_conformance.lab import Lab
from perdure_conformance.samples import (
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
async def messages_come_in_order(lab: Lab) -> None:
    """Messages are delivered whole, in the order of their arrival."""
    await lab.create()
    sent = [result("z", kind=MessageKind.CHILD, data=b"z"), event("a", data=b"a"), event("m")]
    await lab.send(*sent)
    await lab.send(event("k"))
    await lab.send(result("c", kind=MessageKind.CANCEL, execution=None), event("b"))
    turn = await lab.take()
    expect_equal(delivered(turn), ["start", "z", "a", "m", "k", "c", "b"], "messages in order")
    expect_equal(list(turn.messages[1:4]), sent, "the messages themselves")


@check("MAIL-2")
async def messages_wait_for_their_time(lab: Lab) -> None:
    """A message is delivered, and makes ready, from its `visible_at` on and not before."""
    turn = await lab.started()
    due = lab.after(60 * SECOND)
    await lab.commit(turn)
    await lab.send(timer("timer", due), event("later", visible_at=due + 1))
    lab.advance(60 * SECOND - timedelta(microseconds=1))
    await lab.expect_nothing_ready("one microsecond before the timer")
    lab.advance(timedelta(microseconds=1))
    turn = await lab.take()
    expect_equal(delivered(turn), ["timer"], "messages at the timer's instant")
    lab.advance(timedelta(microseconds=1))
    await lab.commit(turn)
    expect_equal(delivered(await lab.take()), ["later"], "messages a microsecond later")


@check("MAIL-3")
async def the_order_is_start_then_due_time(lab: Lab) -> None:
    """The start is first, then messages go by due time, and by arrival at equal times."""
    begin = lab.now
    await lab.send(event("early"), event("tied", visible_at=begin + 3_000_000))
    lab.advance(SECOND)
    await lab.create()
    lab.advance(SECOND)
    await lab.send(
        timer("t3", begin + 3_000_000),
        event("at2"),
        timer("t1", begin + 1_000_000),
        timer("t3b", begin + 3_000_000),
    )
    lab.advance(2 * SECOND)
    await lab.send(event("at4"), timer("t3c", begin + 3_000_000))
    expect_equal(
        delivered(await lab.take()),
        ["start", "early", "t1", "at2", "tied", "t3", "t3b", "t3c", "at4"],
        "messages in order",
    )


@check("MAIL-4")
async def a_clock_that_steps_back_hides_nothing(lab: Lab) -> None:
    """A message without `visible_at` is visible at once, and in its place, after a step back."""
    await lab.create()
    await lab.send(event("before"))
    lab.clock.step_back(timedelta(hours=1))
    await lab.send(event("after"))
    lab.advance(SECOND)
    await lab.send(event("last"))
    expect_equal(
        delivered(await lab.take()), ["start", "before", "after", "last"], "messages in order"
    )


@check("MAIL-5")
async def a_message_id_is_held_once(lab: Lab) -> None:
    """A second message of an id is dropped while the first is held."""
    await lab.create()
    await lab.send(event("one", data=b"first"), event("two"))
    await lab.send(event("one", data=b"second"))
    await lab.send(event("two"), event("three"), event("three"))
    turn = await lab.take()
    expect_equal(delivered(turn), ["start", "one", "two", "three"], "messages in order")
    expect_equal(turn.messages[1].data, b"first", "the payload that was held")
    await lab.send(event("one"))
    await lab.commit(turn)
    await lab.expect_nothing_ready("a duplicate was sent while its first was leased")
    await lab.send(event("one", data=b"anew"))
    turn = await lab.take()
    expect_equal([m.data for m in turn.messages], [b"anew"], "the id, free again")


@check("MAIL-6")
async def events_for_nobody_wait_quietly(lab: Lab) -> None:
    """Events for ids that don't exist are kept and hold nobody up."""
    await lab.provider.send([event("event", f"ghost-{n:03}") for n in range(300)])
    await lab.expect_nothing_ready("only events for absent ids were sent")
    await lab.create("zebra")
    turns = await lab.lease(limit=1)
    expect_equal([t.state.instance for t in turns], ["zebra"], "leased among waiting events")
    await lab.commit(turns[0])
    lab.advance(timedelta(days=30))
    await lab.create("ghost-123")
    expect_equal(delivered(await lab.take("ghost-123")), ["start", "event"], "what was kept")


@check("MAIL-7")
async def other_messages_to_nobody_are_void(lab: Lab) -> None:
    """Only external events wait for an instance; other messages are never delivered."""
    kinds = [kind for kind in MessageKind if kind is not MessageKind.EVENT]
    await lab.send(*(result(f"m-{kind}", kind=kind, execution=None) for kind in kinds))
    await lab.expect_nothing_ready("messages to an absent instance were sent")
    await lab.create()
    expect_equal(delivered(await lab.take()), ["start"], "messages of the instance made later")


@check("MAIL-8")
async def another_incarnations_messages_are_void(lab: Lab) -> None:
    """A message that names another incarnation is never delivered and makes nothing ready."""
    turn = await lab.started()
    await lab.send(result("void-1", incarnation="somebody else"))
    turn = await lab.keep(turn)
    expect_equal(delivered(turn), [], "messages in the answer")
    await lab.commit(turn)
    await lab.send(result("void-2", incarnation="somebody else", execution=None))
    await lab.expect_nothing_ready("only a message for another incarnation")
    await lab.send(event("good"))
    expect_equal(delivered(await lab.take()), ["good"], "messages of this incarnation")


@check("MAIL-9")
async def an_earlier_executions_messages_are_void(lab: Lab) -> None:
    """A message that names an earlier execution is never delivered and makes nothing ready."""
    turn = await lab.started()
    due = lab.after(SECOND)
    turn = await lab.keep(turn, send=(timer("old-timer", due), result("old-result")))
    await lab.commit(
        turn,
        remove=(),
        send=(timer("own-timer", due), result("own-result")),
        end=ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW),
        front=(restart(2),),
    )
    await lab.send(result("late-result", execution=1))
    lab.advance(2 * SECOND)
    turn = await lab.take()
    expect_equal(delivered(turn), ["start-2"], "messages of the second execution")
    await lab.commit(turn)
    await lab.send(result("later-result", execution=1))
    await lab.expect_nothing_ready("only messages of an earlier execution")


@check("MAIL-10")
async def an_ended_instances_messages_are_void(lab: Lab) -> None:
    """A message to an ended instance is never delivered and makes nothing ready."""
    for status in (InstanceStatus.COMPLETED, InstanceStatus.FAILED):
        instance = f"{status}"
        turn = await lab.started(instance)
        await lab.send(event("unread", instance))
        await lab.commit(
            turn,
            send=(event("to-self", instance, visible_at=lab.after(SECOND)),),
            end=ExecutionEnd(status=status),
        )
        await lab.send(event("late", instance), result("late-result", instance))
        lab.advance(LEASE)
        await lab.expect_nothing_ready(f"messages to a {status} instance were sent")


@check("MAIL-11")
async def mailboxes_are_apart(lab: Lab) -> None:
    """Message ids are unique within one mailbox only, and one send reaches many."""
    names = [f"box-{n}" for n in range(5)]
    for name in names:
        await lab.create(name)
    await lab.send(*(event("same", name, data=name.encode()) for name in names))
    while turns := await lab.lease(limit=1):
        turn = turns[0]
        name = turn.state.instance
        expect_equal(delivered(turn), ["start", "same"], f"messages of {name}")
        expect_equal(turn.messages[1].data, name.encode(), f"payload of {name}")
        names.remove(name)
        await lab.commit(turn)
    expect_equal(names, [], "mailboxes that were not reached")
    await lab.expect_nothing_ready("each mailbox was emptied")


@check("MAIL-12")
async def a_delivery_has_a_thousand_messages(lab: Lab) -> None:
    """A delivery has at most 1,000 messages, the first ones, and says whether others wait."""
    count = MAX_MESSAGES_PER_DELIVERY + 100
    sent = [event(f"e-{n:05}") for n in range(count)]
    await lab.provider.send(list(reversed(sent)))
    await lab.create()
    wanted = ["start", *reversed(ids(sent))]
    turn = await lab.take()
    expect_equal(len(turn.messages), MAX_MESSAGES_PER_DELIVERY, "messages in a delivery")
    expect_equal((delivered(turn), turn.more), (wanted[:1000], True), "the first delivery")
    await lab.commit(turn)
    turn = await lab.take()
    expect_equal((delivered(turn), turn.more), (wanted[1000:], False), "the second delivery")


@check("MAIL-13")
async def a_delivery_has_four_megabytes(lab: Lab) -> None:
    """A delivery has at most 4 MiB, but at least one message, and says whether others wait."""
    third = bytes(MAX_BYTES_PER_DELIVERY // 3)
    await lab.create()
    await lab.send(*(event(f"e-{n}", data=third) for n in range(4)))
    await lab.send(event("huge", data=third * 4), event("small"))
    turn = await lab.take()
    size = sum(len(message.data) for message in turn.messages)
    expect(size <= MAX_BYTES_PER_DELIVERY, f"a delivery has {size} bytes")
    expect_equal((turn.messages[0].id, turn.more), ("start", True), "first message, and more")
    found = delivered(turn)
    while turn.more:
        turn = await lab.keep(turn)
        expect(turn.messages, "a delivery is empty although more is said to wait")
        size = sum(len(message.data) for message in turn.messages)
        expect(
            size <= MAX_BYTES_PER_DELIVERY or len(turn.messages) == 1,
            f"an answer has {size} bytes in {len(turn.messages)} messages",
        )
        found.extend(delivered(turn))
    wanted = ["start", "e-0", "e-1", "e-2", "e-3", "huge", "small"]
    expect_equal(found, wanted, "all deliveries together")


@check("MAIL-14")
async def ten_thousand_messages_are_delivered(lab: Lab) -> None:
    """10,000 messages to one instance are delivered all, in order, each once."""
    wanted = [f"e-{n:05}" for n in range(10_000)]
    for begin in range(0, len(wanted), 500):
        await lab.provider.send([event(each) for each in wanted[begin : begin + 500]])
    await lab.create()
    turn = await lab.take()
    found = delivered(turn)
    while turn.more:
        if len(found) % 4000 < 1000:
            await lab.commit(turn)
            turn = await lab.take()
        else:
            turn = await lab.keep(turn)
        expect(turn.messages, "a delivery is empty although more is said to wait")
        found.extend(delivered(turn))
    expect_equal(len(found), 10_001, "messages delivered")
    expect_equal(found, ["start", *wanted], "messages in order")


@check("MAIL-15")
async def concurrent_sends_lose_nothing(lab: Lab) -> None:
    """Of messages sent concurrently none is lost and none doubled."""
    objects = [lab.provider, await lab.open()]
    await lab.create()
    wanted = {f"e-{n}" for n in range(120)}
    await lab.all_well(objects[n % 2].send([event(each)]) for n, each in enumerate(sorted(wanted)))
    found = delivered(await lab.take())
    expect_equal(sorted(found), sorted({"start", *wanted}), "messages delivered")
