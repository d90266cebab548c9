"""Waking calls that wait, across provider objects, event loops and threads.

A waiting call subscribes before it looks, so a change between its look and its wait wakes it. A
notification carries no data: the call looks again. There is no polling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from perdure.contract import Clock, Instant

_MICROSECOND = timedelta(microseconds=1)


class Subscription:
    """One wait of one task."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.woken: asyncio.Future[None] = self._loop.create_future()

    def wake(self) -> None:
        """Wake the task; this may be called from any thread."""
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._loop:
            self._finish()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class Subscribers:
    """The subscriptions to one kind of change."""

    def __init__(self) -> None:
        self._subscriptions: dict[Subscription, None] = {}

    def wake(self) -> None:
        """Wake all of them."""
        for subscription in tuple(self._subscriptions):
            subscription.wake()

    @contextmanager
    def added(self, subscription: Subscription) -> Generator[None]:
        """Notify the subscription while the block lasts."""
        self._subscriptions[subscription] = None
        try:
            yield
        finally:
            del self._subscriptions[subscription]


async def wait_until(
    look: Callable[[], Instant | None],
    *,
    lists: Sequence[Subscribers],
    clock: Clock,
    timeout: timedelta,
) -> None:
    """Return when `look` returns an instant that has passed, or after the timeout.

    `look` returns when to look again, or None if only a change can make a difference. It is called
    at once, after every change, and at the instant that it returned.
    """
    at = look()
    if at is not None and at <= clock.now():
        # A caller in a loop must not keep other tasks from running.
        await asyncio.sleep(0)
        return
    end = asyncio.ensure_future(clock.sleep(timeout))
    try:
        while not end.done():
            subscription = Subscription()
            with ExitStack() as registered:
                for subscribers in lists:
                    registered.enter_context(subscribers.added(subscription))
                at = look()
                if at is not None and at <= clock.now():
                    return
                await _first_of(subscription.woken, end, clock=clock, at=at)
    finally:
        end.cancel()


async def _first_of(*others: asyncio.Future[None], clock: Clock, at: Instant | None) -> None:
    if at is None:
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        return
    due = asyncio.ensure_future(clock.sleep((at - clock.now()) * _MICROSECOND))
    try:
        await asyncio.wait((*others, due), return_when=asyncio.FIRST_COMPLETED)
    finally:
        due.cancel()
