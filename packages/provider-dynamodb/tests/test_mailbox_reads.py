"""What is read of a mailbox: what is new and visible, however much is due later."""

from datetime import timedelta
from uuid import uuid4

import pytest
from perdure.contract import (
    Message,
    MessageKind,
    NewInstance,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure_dynamodb.testing.metering import MeteringCalls

SECOND = timedelta(seconds=1)
LEASE = 30 * SECOND
TIMERS = 200
"""A whole mailbox of so many costs more than ten read units."""


@pytest.fixture
def meter(model):
    return MeteringCalls(model)


async def lease(provider):
    serves = Serves(orchestrations={"flow": frozenset()})
    return await provider.lease_turns(
        TurnRequest(token=uuid4().hex, limit=10, lease_for=LEASE, serves=serves)
    )


def event(name):
    return Message(id=f"event:{name}", instance="alpha", kind=MessageKind.EVENT, data=b"")


def timer(number, due):
    return Message(
        id=f"timer:1:{number}",
        instance="alpha",
        kind=MessageKind.TIMER,
        data=b'{"scheduled":%d}' % number,
        incarnation="first",
        execution=1,
        visible_at=due,
    )


class Holder:
    """Commits turns of one instance, one after the other, under one lease."""

    def __init__(self, provider, turn):
        self.provider, self.turn, self.messages = provider, turn, turn.messages

    async def commit(self, *, keep=True, send=(), remove=None):
        answer = await self.provider.commit_turn(
            TurnCommit(
                id=uuid4().hex,
                instance="alpha",
                incarnation="first",
                token=self.turn.token,
                execution=1,
                expected_event=0,
                remove=tuple(each.id for each in self.messages) if remove is None else remove,
                send=tuple(send),
                keep_for=LEASE if keep else None,
            )
        )
        self.messages = answer.messages
        return [each.id for each in answer.messages]


async def with_timers(provider, clock, count=TIMERS, *, after=100):
    """An instance with timers, one each second, and its turn."""
    start = Message(
        id="start", instance="alpha", kind=MessageKind.START, data=b"", incarnation="first"
    )
    await provider.create_instance(
        NewInstance(instance="alpha", incarnation="first", name="flow", start=start)
    )
    [turn] = await lease(provider)
    holder = Holder(provider, turn)
    first = clock.now() + after * 1_000_000
    for number in range(0, count, 40):
        due = [timer(n, first + n * 1_000_000) for n in range(number, min(count, number + 40))]
        await holder.commit(send=due)
    return holder


async def test_a_commit_that_met_no_message_reads_nothing(open_on_model, meter, clock):
    async with open_on_model(meter) as provider:
        holder = await with_timers(provider, clock)
        meter.take()

        assert await holder.commit() == []

    bill = meter.take()
    assert (bill.total, bill.read_units) == (1, 0)


async def test_a_commit_that_meets_a_message_reads_no_timers(open_on_model, meter, clock):
    async with open_on_model(meter) as provider, open_on_model() as other:
        holder = await with_timers(provider, clock)
        await other.send([event("one")])
        meter.take()

        assert await holder.commit() == ["event:one"]
        await other.send([event("two")])
        assert await holder.commit() == ["event:two"]

    assert meter.take().read_units <= 10


async def test_a_lease_reads_no_timers_unless_one_is_due(open_on_model, meter, clock):
    async with open_on_model(meter) as provider:
        holder = await with_timers(provider, clock)
        await holder.commit(keep=False)
        await provider.send([event("one")])
        meter.take()

        [turn] = await lease(provider)
        assert [each.id for each in turn.messages] == ["event:one"]
        bill = meter.take()
        assert bill.read_units + bill.look_units <= 6

        await provider.release_turn(
            TurnRelease(lease=TurnLease(instance="alpha", token=turn.token))
        )
        clock.advance(100 * SECOND)
        [turn] = await lease(provider)
        assert [each.id for each in turn.messages] == ["event:one", "timer:1:0"]


async def test_timers_that_become_due_while_the_lease_is_kept_are_delivered_by_the_next_commit(
    open_on_model, clock
):
    async with open_on_model() as provider:
        holder = await with_timers(provider, clock, after=10)
        assert await holder.commit() == []
        clock.advance(11 * SECOND)

        assert await holder.commit() == ["timer:1:0", "timer:1:1"]
        assert await holder.commit() == []
        clock.advance(SECOND)
        assert await holder.commit() == ["timer:1:2"]


@pytest.mark.parametrize("count", [0, 5, TIMERS])
async def test_a_timer_that_another_process_sends_is_met(count, open_on_model, clock):
    async with open_on_model() as provider, open_on_model() as other:
        holder = await with_timers(provider, clock, count)
        await other.send([timer(5000, clock.now() + 1_000_000)])
        assert await holder.commit() == []
        clock.advance(SECOND)
        assert await holder.commit() == ["timer:1:5000"]
        await other.send([timer(5001, clock.now() + 1_000_000)])
        await holder.commit(keep=False)
        await other.send([event("one")])

        [turn] = await lease(other)
        holder = Holder(other, turn)
        assert [each.id for each in turn.messages] == ["event:one"]
        clock.advance(SECOND)
        assert await holder.commit() == ["timer:1:5001"]


async def test_a_timer_of_many_wakes_its_instance_and_none_is_lost(open_on_model, clock):
    async with open_on_model() as provider, open_on_model() as other:
        holder = await with_timers(provider, clock, 60, after=1)
        await holder.commit(keep=False)
        found = []
        for _ in range(70):
            clock.advance(SECOND)
            for turn in await lease(other):
                found += [each.id for each in turn.messages]
                await Holder(other, turn).commit(keep=False)

    assert found == [f"timer:1:{number}" for number in range(60)]
