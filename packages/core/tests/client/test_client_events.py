"""Raising events and cancelling, to instances in every state."""

from __future__ import annotations

import asyncio

import pytest
from perdure import (
    ApplicationFailure,
    Cancelled,
    Client,
    Completed,
    EventArrival,
    Failed,
    NotFound,
)
from perdure.contract import DelegatingProvider, MessageKind
from perdure.errors import (
    InvalidIdentifier,
    InvalidInput,
    InvalidPayload,
    StorageFailed,
    StorageUnavailable,
)
from perdure.model.wire import decode_cancel, decode_raised


class Forgetful(DelegatingProvider):
    """Sends, and loses the first answers."""

    def __init__(self, inner, lost=1):
        super().__init__(inner)
        self.left = lost

    async def send(self, messages):
        await super().send(messages)
        if self.left:
            self.left -= 1
            raise StorageUnavailable("the answer was lost; try again", operation="send")


async def raised(turns, instance):
    messages = (await turns.lease(instance)).messages
    events = [decode_raised(m.data) for m in messages if m.kind is MessageKind.EVENT]
    return [(event.name, event.data) for event in events]


async def cancels(turns, instance):
    messages = (await turns.lease(instance)).messages
    return [decode_cancel(m.data).reason for m in messages if m.kind is MessageKind.CANCEL]


async def test_events_arrive_in_the_order_raised(client, turns):
    await client.start_orchestration("i", "Sum")
    await client.raise_event("i", "go", "1")
    await client.raise_event("i", "go", "2")
    await client.raise_event("i", "stop")

    assert await raised(turns, "i") == [("go", "1"), ("go", "2"), ("stop", "null")]


async def test_an_event_raised_before_the_start_is_delivered_after_it(client, turns):
    await client.raise_event("i", "go", "1")
    assert await client.get_orchestration_status("i") == NotFound()
    await client.start_orchestration("i", "Sum")

    turn = await turns.lease("i")
    assert [message.kind for message in turn.messages] == [MessageKind.START, MessageKind.EVENT]


async def test_the_same_event_raised_twice_is_two_events(client, turns):
    await client.start_orchestration("i", "Sum")
    await client.raise_event("i", "go", "1")
    await client.raise_event("i", "go", "1")

    assert len(await raised(turns, "i")) == 2


async def test_an_event_id_counts_once(client, turns):
    await client.start_orchestration("i", "Sum")
    await client.raise_event("i", "go", "1", event_id="order-1")
    await client.raise_event("i", "go", "1", event_id="order-1")
    await client.raise_event("i", "go", "1", event_id="order-2")

    assert len(await raised(turns, "i")) == 2


async def test_an_event_whose_answer_was_lost_counts_once(provider, turns):
    client = Client(Forgetful(provider, lost=2))
    await client.start_orchestration("i", "Sum")
    await turns.pass_time(asyncio.ensure_future(client.raise_event("i", "go", "1")))

    assert await raised(turns, "i") == [("go", "1")]


@pytest.mark.parametrize("event_id", ["cancel", "start"])
async def test_an_event_id_never_collides_with_other_messages(client, turns, event_id):
    await client.start_orchestration("i", "Sum")
    await client.raise_event("i", "go", "1", event_id=event_id)
    await client.cancel_instance("i", "enough")

    messages = (await turns.lease("i")).messages
    assert [m.kind for m in messages] == [MessageKind.START, MessageKind.EVENT, MessageKind.CANCEL]


@pytest.mark.parametrize("event_id", ["", "x" * 513, "a\x00"])
async def test_an_event_id_against_the_rule_is_refused(client, event_id):
    with pytest.raises(InvalidIdentifier, match="event id"):
        await client.raise_event("i", "go", event_id=event_id)


async def test_an_event_to_an_ended_instance_is_ignored(client, turns):
    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "1")
    await client.raise_event("i", "go")

    assert await client.get_orchestration_status("i") == Completed(output="1")
    assert (await client.get_queue_depths()).orchestrator_queue == 0


async def test_an_event_to_an_unknown_id_delays_no_other(client, turns):
    await client.raise_event("unknown", "go")
    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "1")

    assert await client.wait_for_orchestration("i", 0) == Completed(output="1")


async def test_a_cancel_carries_its_reason_to_the_incarnation_seen(client, turns):
    await client.start_orchestration("i", "Sum")
    await client.cancel_instance("i", "out of stock")

    turn = await turns.lease("i")
    cancel = turn.messages[-1]
    assert cancel.kind is MessageKind.CANCEL
    assert cancel.incarnation == turn.state.incarnation
    assert decode_cancel(cancel.data).reason == "out of stock"


async def test_cancelling_twice_is_cancelling_once(client, turns):
    await client.start_orchestration("i", "Sum")
    await client.cancel_instance("i", "first")
    await client.cancel_instance("i", "second")

    assert await cancels(turns, "i") == ["first"]


async def test_a_cancel_of_an_unknown_id_does_nothing_even_to_a_later_instance(client, turns):
    await client.cancel_instance("i", "too early")
    await client.start_orchestration("i", "Sum")

    assert await cancels(turns, "i") == []


async def test_a_cancel_of_an_ended_instance_does_nothing(client, turns):
    await client.start_orchestration("i", "Sum")
    failure = ApplicationFailure(Cancelled(reason="earlier"))
    await turns.fail("i", failure)
    before = await client.get_instance_info("i")
    await client.cancel_instance("i", "later")

    assert await client.get_orchestration_status("i") == Failed(details=failure)
    assert await client.get_instance_info("i") == before


async def test_a_cancel_of_an_ended_instance_writes_nothing(provider, client, turns):
    class ReadOnly(DelegatingProvider):
        async def send(self, messages):
            raise AssertionError("a message was sent")

    await client.start_orchestration("i", "Sum")
    await turns.complete("i", "1")
    await Client(ReadOnly(provider)).cancel_instance("i", "later")
    await Client(ReadOnly(provider)).cancel_instance("unknown", "why")

    assert await client.get_orchestration_status("i") == Completed(output="1")


async def test_a_cancel_whose_answer_was_lost_counts_once(provider, turns):
    client = Client(Forgetful(provider))
    await client.start_orchestration("i", "Sum")
    await turns.pass_time(asyncio.ensure_future(client.cancel_instance("i", "why")))

    assert await cancels(turns, "i") == ["why"]


async def test_a_cancel_survives_continue_as_new(client, turns):
    await client.start_orchestration("i", "Sum")
    turn = await turns.lease("i")
    await client.cancel_instance("i", "why")
    await turns.commit(turn)
    await turns.continue_as_new("i")
    await client.cancel_instance("i", "again")

    assert await cancels(turns, "i") == ["again"]


@pytest.mark.parametrize("reason", [7, None, "\udcff", "x" * 20000])
async def test_a_reason_that_is_no_short_text_is_refused(client, reason):
    await client.start_orchestration("i", "Sum")
    with pytest.raises(InvalidInput, match="reason"):
        await client.cancel_instance("i", reason)


async def test_raising_and_cancelling_ring_the_runtimes_of_this_process(client, provider):
    await client.start_orchestration("i", "Sum")
    with provider.notifier.subscribe_turns() as subscription:
        for call in (client.raise_event("i", "go"), client.cancel_instance("i")):
            subscription.clear()
            await call

            async with asyncio.timeout(60):
                await subscription.wait()


async def test_raising_tells_what_the_event_met(client, turns):
    assert await client.raise_event("i", "go") is EventArrival.EARLY
    handle = await client.start_orchestration("i", "Sum")
    assert await client.raise_event("i", "go") is EventArrival.RUNNING
    assert await handle.raise_event("go") is EventArrival.RUNNING
    await turns.complete("i", "1")
    assert await client.raise_event("i", "go") is EventArrival.LATE


async def test_a_typed_event_is_raised_with_a_value(client, turns):
    handle = await client.start_orchestration("i", "Sum")
    await client.raise_event_typed("i", "go", {"by": "Ada"}, event_id="one")
    await handle.raise_event_typed("go", [1, 2])
    await client.raise_event_typed("i", "stop")

    assert await raised(turns, "i") == [("go", '{"by":"Ada"}'), ("go", "[1,2]"), ("stop", "null")]
    with pytest.raises(InvalidPayload, match="value of event 'go' of type 'object'"):
        await client.raise_event_typed("i", "go", object())


async def test_an_event_that_cannot_be_told_about_is_not_raised(provider, client, turns):
    """A caller that raises it again after the error would otherwise raise two."""
    await client.start_orchestration("i", "Sum")

    class Unreadable(DelegatingProvider):
        async def read_instance(self, instance):
            raise StorageFailed("no answer", operation="read_instance")

    with pytest.raises(StorageFailed):
        await Client(Unreadable(provider)).raise_event("i", "go")
    assert await raised(turns, "i") == []
