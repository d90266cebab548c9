"""The order of messages, what is void, and the limits of a delivery."""

from datetime import timedelta

import pytest
from perdure.contract import MAX_BYTES_PER_DELIVERY, ExecutionEnd, InstanceStatus, MessageKind

SECOND = timedelta(seconds=1)


def ids(messages):
    return [message.id for message in messages]


async def test_events_that_waited_come_after_the_start(bench):
    await bench.provider.send([bench.message("early 1"), bench.message("early 2")])
    await bench.create()

    assert ids((await bench.lease_one()).messages) == ["start", "early 1", "early 2"]


async def test_only_external_events_wait_for_an_absent_instance(bench):
    await bench.provider.send([bench.message("cancel", kind=MessageKind.CANCEL)])
    await bench.create()

    assert ids((await bench.lease_one()).messages) == ["start"]


async def test_a_timer_that_was_due_first_is_delivered_first(bench):
    await bench.create()
    timer = bench.message("timer", kind=MessageKind.TIMER, visible_at=bench.after(10))
    await bench.provider.send([timer])
    bench.clock.advance(20 * SECOND)
    await bench.provider.send([bench.message("late")])

    assert ids((await bench.lease_one()).messages) == ["start", "timer", "late"]


async def test_a_timer_is_not_delivered_before_its_instant(bench):
    await bench.create()
    await bench.commit(
        await bench.lease_one(),
        send=(bench.message("timer", kind=MessageKind.TIMER, visible_at=bench.after(10)),),
    )

    bench.clock.advance(10 * SECOND - timedelta(microseconds=1))
    assert await bench.lease() == []
    bench.clock.advance(timedelta(microseconds=1))
    assert ids((await bench.lease_one()).messages) == ["timer"]


async def test_a_timer_is_hidden_again_by_a_clock_that_steps_back(bench):
    await bench.create()
    await bench.commit(
        await bench.lease_one(),
        send=(bench.message("timer", kind=MessageKind.TIMER, visible_at=bench.after(10)),),
    )
    bench.clock.advance(10 * SECOND)
    await bench.provider.as_management_capability().count_queues()
    bench.clock.step_back(5 * SECOND)

    assert await bench.lease() == []
    bench.clock.advance(5 * SECOND)
    assert ids((await bench.lease_one()).messages) == ["timer"]


async def test_arrivals_keep_their_order_when_the_clock_steps_back(bench):
    await bench.create()
    await bench.provider.send([bench.message("first")])
    bench.clock.step_back(3600 * SECOND)
    await bench.provider.send([bench.message("second")])

    assert ids((await bench.lease_one()).messages) == ["start", "first", "second"]


async def test_a_message_whose_id_is_held_is_dropped_until_that_one_is_removed(bench):
    await bench.create()
    await bench.provider.send([bench.message("e", data=b"1")])
    await bench.provider.send([bench.message("e", data=b"2")])
    turn = await bench.lease_one()
    await bench.commit(turn, send=(bench.message("e", data=b"3"),))

    assert [message.data for message in turn.messages] == [b"", b"1"]
    assert [message.data for message in (await bench.lease_one()).messages] == [b"3"]


async def test_front_messages_of_later_commits_come_first_and_held_ones_move(bench):
    await bench.create()
    await bench.provider.send([bench.message("a"), bench.message("b"), bench.message("c")])
    turn = await bench.lease_one()
    answer = await bench.commit(
        turn, remove=(), front=(bench.message("c"), bench.message("x")), keep_for=30 * SECOND
    )
    assert ids(answer.messages) == ["start", "c", "x", "a", "b"]

    await bench.provider.commit_turn(
        bench.commit_of(turn, remove=(), front=(bench.message("b"), bench.message("y")))
    )

    assert ids((await bench.lease_one()).messages) == ["start", "b", "y", "c", "x", "a"]


async def test_a_delivery_stops_at_a_thousand_messages_and_goes_on_with_the_answer(bench):
    await bench.create()
    await bench.provider.send([bench.message(str(number)) for number in range(2500)])
    turn = await bench.lease_one()
    got = ids(turn.messages)
    assert (len(got), turn.more) == (1000, True)

    answer = await bench.commit(turn, keep_for=30 * SECOND)
    assert (len(answer.messages), answer.more) == (1000, True)
    got += ids(answer.messages)
    answer = await bench.commit(
        turn, remove=ids(answer.messages), held=frozenset(), keep_for=30 * SECOND
    )

    assert answer.more is False
    assert [*got, *ids(answer.messages)] == ["start", *map(str, range(2500))]


async def test_a_delivery_stops_at_four_mebibytes_but_has_one_message_at_least(bench):
    half = MAX_BYTES_PER_DELIVERY // 2
    await bench.create()
    await bench.provider.send(
        [
            bench.message("1", data=bytes(half)),
            bench.message("2", data=bytes(half)),
            bench.message("3", data=bytes(3 * half)),
        ]
    )

    turn = await bench.lease_one()
    assert (ids(turn.messages), turn.more) == (["start", "1", "2"], True)
    answer = await bench.commit(turn, keep_for=30 * SECOND)
    assert (ids(answer.messages), answer.more) == (["3"], False)


async def test_the_answer_leaves_out_what_the_caller_holds(bench):
    await bench.create()
    await bench.provider.send([bench.message("a"), bench.message("b")])
    turn = await bench.lease_one()
    await bench.provider.send([bench.message("c")])

    answer = await bench.commit(
        turn, remove=("start",), held=frozenset({"a", "b"}), keep_for=30 * SECOND
    )

    assert (ids(answer.messages), answer.more) == (["c"], False)


async def test_the_next_execution_keeps_events_and_loses_timers_of_the_old(bench):
    await bench.create()
    await bench.provider.send([bench.message("kept")])
    timer = bench.message("timer", kind=MessageKind.TIMER, execution=1, visible_at=bench.after(10))
    await bench.provider.send([timer])
    turn = await bench.lease_one()
    await bench.commit(
        turn,
        remove=("start",),
        end=ExecutionEnd(status=InstanceStatus.CONTINUED_AS_NEW, output=b"next"),
        front=(
            bench.message("start 2", kind=MessageKind.START, execution=2),
            bench.message("carried"),
        ),
        send=(bench.message("too late", kind=MessageKind.ACTIVITY, execution=1),),
    )
    bench.clock.advance(10 * SECOND)
    await bench.provider.send([bench.message("old", kind=MessageKind.ACTIVITY, execution=1)])

    turn = await bench.lease_one()
    assert ids(turn.messages) == ["start 2", "carried", "kept"]
    assert (turn.state.execution, turn.state.last_event) == (2, 0)
    depths = await bench.provider.as_management_capability().count_queues()
    assert depths.timer_queue == 0


@pytest.mark.parametrize("status", [InstanceStatus.COMPLETED, InstanceStatus.FAILED])
async def test_nothing_reaches_an_instance_that_has_ended(bench, status):
    await bench.create()
    turn = await bench.lease_one()
    await bench.commit(
        turn,
        end=ExecutionEnd(status=status, output=b"out"),
        send=(bench.message("to itself"),),
        keep_for=30 * SECOND,
    )
    await bench.provider.send([bench.message("later")])

    assert await bench.lease() == []
    state = await bench.provider.read_instance("a")
    assert (state.status, state.output) == (status, b"out")


async def test_ten_thousand_messages_are_delivered_in_order_each_once(bench):
    await bench.create()
    for begin in range(0, 10_000, 100):
        await bench.provider.send(
            [bench.message(str(number)) for number in range(begin, begin + 100)]
        )
    got = []
    turn = await bench.lease_one()
    messages = turn.messages
    while messages:
        got += ids(messages)
        answer = await bench.commit(turn, remove=ids(messages), keep_for=30 * SECOND)
        messages = answer.messages

    assert got == ["start", *map(str, range(10_000))]
