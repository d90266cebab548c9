"""The notifier: no notification is lost, and each reaches only those who subscribed to it."""

from __future__ import annotations

import asyncio

import pytest
from perdure.contract.notifier import Notifier


@pytest.fixture
def notifier() -> Notifier:
    return Notifier()


async def begun(subscription) -> asyncio.Task[None]:
    """A task that waits."""
    task = asyncio.create_task(subscription.wait())
    await asyncio.sleep(0)
    return task


async def test_a_waiter_is_woken(notifier) -> None:
    with notifier.subscribe_turns() as subscription:
        task = await begun(subscription)
        before = task.done()
        notifier.notify_turns()
        await task

    assert not before


async def test_a_notification_between_the_look_and_the_wait_is_not_lost(notifier) -> None:
    with notifier.subscribe_activities() as subscription:
        subscription.clear()
        notifier.notify_activities()

        await asyncio.wait_for(subscription.wait(), 1)


async def test_what_was_told_before_the_look_wakes_no_one_after_it(notifier) -> None:
    with notifier.subscribe_turns() as subscription:
        notifier.notify_turns()
        subscription.clear()
        task = await begun(subscription)
        waits = not task.done()
        task.cancel()

    assert waits


async def test_a_notification_is_seen_by_every_subscription_of_its_kind_and_by_no_other(
    notifier,
) -> None:
    with (
        notifier.subscribe_turns() as one,
        notifier.subscribe_turns() as two,
        notifier.subscribe_activities() as other,
        notifier.subscribe_instance("a") as instance,
    ):
        tasks = [await begun(each) for each in (one, two, other, instance)]
        notifier.notify_turns("a")
        await asyncio.sleep(0)
        woken = [task.done() for task in tasks]
        for task in tasks:
            task.cancel()

    assert woken == [True, True, False, False]


async def test_an_instance_wakes_only_its_own_waiters(notifier) -> None:
    with notifier.subscribe_instance("a") as a, notifier.subscribe_instance("b") as b:
        tasks = [await begun(a), await begun(b)]
        notifier.notify_instance("a")
        notifier.notify_instance("unknown")
        await asyncio.sleep(0)
        woken = [task.done() for task in tasks]
        tasks[1].cancel()

    assert woken == [True, False]


async def test_a_wait_that_was_cancelled_leaves_the_subscription_usable(notifier) -> None:
    with notifier.subscribe_turns() as subscription:
        task = await begun(subscription)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        notifier.notify_turns()

        await asyncio.wait_for(subscription.wait(), 1)


async def test_a_listener_hears_which_instance_got_a_message_until_its_block_ends(notifier) -> None:
    heard: list[str] = []
    with notifier.subscribe_messages(heard.append):
        notifier.notify_turns("a")
        notifier.notify_turns()
    notifier.notify_turns("b")

    assert heard == ["a"]


async def test_subscriptions_that_ended_leave_nothing_behind(notifier) -> None:
    with (
        notifier.subscribe_turns(),
        notifier.subscribe_activities(),
        notifier.subscribe_instance("a"),
        notifier.subscribe_instance("a"),
    ):
        pass

    assert not notifier._turns
    assert not notifier._activities
    assert not notifier._instances
