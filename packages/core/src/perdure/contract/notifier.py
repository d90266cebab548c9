"""The notifier of a provider object: wakes waiting calls in the same process.

Core notifies it after each call that may have made work ready or changed an instance, so that no
call in the same process waits for a poll. A notification carries no data: a waiting call that wakes
reads the storage. No notification is lost: a subscription remembers every notification since it
began, also while nothing waits for it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Subscription:
    """One waiter's view of the notifier: set by a notification, cleared before each look."""

    __slots__ = ("_waiter", "is_notified")

    def __init__(self) -> None:
        self.is_notified = False
        """Whether there was a notification since the last `clear`."""
        self._waiter: asyncio.Future[None] | None = None

    def notify(self) -> None:
        """Wake the waiter, now or when it next waits."""
        self.is_notified = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Forget earlier notifications; call it before reading the storage, never after."""
        self.is_notified = False

    async def wait(self) -> None:
        """Return once there was a notification since the last `clear`. One waiter at a time."""
        if self.is_notified:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Notifier:
    """The subscriptions to one provider object: for turns, for activities, and by instance."""

    def __init__(self) -> None:
        self._turns: list[Subscription] = []
        self._activities: list[Subscription] = []
        self._instances: dict[str, list[Subscription]] = defaultdict(list)
        self._message_listeners: list[Callable[[str], None]] = []

    def notify_turns(self, instance: str | None = None) -> None:
        """Notify that there may be an instance to lease; `instance` has got a message, if known."""
        for subscription in self._turns:
            subscription.notify()
        if instance is not None:
            for listener in self._message_listeners:
                listener(instance)

    def notify_activities(self) -> None:
        """Notify that there may be an activity to lease."""
        for subscription in self._activities:
            subscription.notify()

    def notify_instance(self, instance: str) -> None:
        """Notify that this instance may have ended, been parked or told of progress."""
        for subscription in self._instances.get(instance, ()):
            subscription.notify()

    @contextmanager
    def subscribe_turns(self) -> Generator[Subscription]:
        """A subscription to work of orchestrations, as long as the block lasts."""
        subscription = Subscription()
        self._turns.append(subscription)
        try:
            yield subscription
        finally:
            self._turns.remove(subscription)

    @contextmanager
    def subscribe_messages(self, listener: Callable[[str], None]) -> Generator[None]:
        """Call `listener` with the id of each instance that gets a message in this process."""
        self._message_listeners.append(listener)
        try:
            yield
        finally:
            self._message_listeners.remove(listener)

    @contextmanager
    def subscribe_activities(self) -> Generator[Subscription]:
        """A subscription to work of activities, as long as the block lasts."""
        subscription = Subscription()
        self._activities.append(subscription)
        try:
            yield subscription
        finally:
            self._activities.remove(subscription)

    @contextmanager
    def subscribe_instance(self, instance: str) -> Generator[Subscription]:
        """A subscription to the end, the parking and the progress of one instance, as long as the block lasts."""
        subscription = Subscription()
        self._instances[instance].append(subscription)
        try:
            yield subscription
        finally:
            subscriptions = self._instances[instance]
            subscriptions.remove(subscription)
            if not subscriptions:
                del self._instances[instance]
