"""How a runtime looks for work: one loop for turns and activities, and how long it pauses.

Where the provider tells of work, it ends the pause, which is then only the limit of a wait, and the
time after which work is found that the provider did not tell of. Where it does not, the pause grows
until work comes: this is adaptive polling.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from typing import ClassVar, Protocol

from perdure.clock import Clock, to_microseconds
from perdure.contract.notifier import Subscription
from perdure.contract.provider import Provider
from perdure.contract.waiting import first_of
from perdure.errors import ProviderError, StorageClosed
from perdure.records.queries import WorkWait
from perdure.runtime.clock_skew import ClockSkew
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.renewal import LeaseRenewal
from perdure.runtime.repeated_failures import RepeatedFailures
from perdure.runtime.unique_ids import unique_ids

_FIRST_PAUSE = timedelta(milliseconds=20)
_AFTER_FAILURE = timedelta(seconds=1)
"""How long to wait at least after a call that failed."""
_LONGEST_INTERVAL = timedelta(seconds=30)
_MOST_KNOWN = 10_000


class Found(Enum):
    """What a look for work has found."""

    NOTHING = "nothing that this runtime runs"
    WORK = "work that has begun"
    LAST_WORK = "all the work that was ready, and it has begun"
    OWN_WORK = "only work that runs here already"


class WorkQueue(Protocol):
    """The turns or the activities of one runtime, as the loop that looks for them needs them."""

    what: ClassVar[str]
    """What is leased, for the log."""

    @property
    def may_ask_for_unregistered(self) -> bool:
        """Whether a look may ask for work that is not registered here."""
        ...

    async def wait_for_room(self) -> None:
        """Return when something could begin."""
        ...

    async def look(
        self, token: str, unregistered_for: timedelta | None, *, is_repeat: bool
    ) -> Found:
        """Lease what could begin under the token, and begin it.

        A repeat follows a call that failed, and returns first what that call has leased.
        """
        ...

    def work_wait(self) -> WorkWait:
        """What to wait for after a look that found nothing."""
        ...


class LeaseLoop:
    """Looks for one kind of work for as long as the runtime runs."""

    def __init__(
        self,
        queue: WorkQueue,
        *,
        provider: Provider,
        options: RuntimeOptions,
        renewal: LeaseRenewal,
        skew: ClockSkew,
        looks: UnregisteredLooks,
    ) -> None:
        self._queue = queue
        self._provider = provider
        self._options = options
        self._renewal = renewal
        self._skew = skew
        self._looks = looks
        self._losses = 0
        """How many lost leases this loop has taken account of."""
        self._ids = unique_ids()
        self._failures = RepeatedFailures(f"leasing {queue.what}", provider.clock)
        self._failed_token: str | None = None
        """Of a lease call that failed: what it leased is returned under its token (CALL-10)."""

    async def run(self, subscription: Subscription) -> None:
        """Look for work, again and again; raises `StorageClosed` alone."""
        clock = self._provider.clock
        backoff = PollBackoff(
            self._options.poll_interval, clock, tells_of_work=self._provider.tells_of_work
        )
        while True:
            await self._queue.wait_for_room()
            subscription.clear()
            try:
                found = await self._look()
            except StorageClosed:
                raise
            except ProviderError as error:
                self._failures.failed(error)
                await clock.sleep(_AFTER_FAILURE)
                continue
            self._failures.succeeded()
            match found:
                case Found.WORK:
                    backoff.reset()
                    # What was leased runs first: meanwhile other runtimes get their share.
                    await asyncio.sleep(0)
                case Found.LAST_WORK:
                    backoff.reset()
                    await asyncio.sleep(0)
                    if self._provider.tells_of_work:
                        # Another look would find nothing, and delay what has begun.
                        await backoff.wait(self._provider, subscription, self._queue.work_wait())
                case Found.OWN_WORK:
                    # Another look at once would find it again, where the clocks of two processes
                    # differ by more than a lease.
                    pause = clock.sleep(self._options.poll_interval)
                    await first_of(subscription.wait(), pause)
                case Found.NOTHING:
                    await backoff.wait(self._provider, subscription, self._queue.work_wait())

    async def _look(self) -> Found:
        may_ask = self._queue.may_ask_for_unregistered
        unregistered_for = self._looks.unregistered_for() if may_ask else None
        if self._skew.losses > self._losses:
            self._losses = self._skew.losses
            await self._skew.pause()
        if self._renewal.is_overdue:
            await self._renewal.renew()
        is_repeat = self._failed_token is not None
        token = self._failed_token = self._failed_token or next(self._ids)
        found = await self._queue.look(token, unregistered_for, is_repeat=is_repeat)
        self._failed_token = None
        return found


class PollBackoff:
    """How long to wait after a look that found nothing.

    As long as allowed if the provider tells of work, else longer each time until work comes.
    """

    def __init__(self, longest: timedelta, clock: Clock, *, tells_of_work: bool) -> None:
        self._longest = longest
        self._shortest = longest if tells_of_work else min(_FIRST_PAUSE, longest)
        self._failures = RepeatedFailures("waiting for work", clock)
        self.reset()

    def reset(self) -> None:
        """Work was found: look again soon."""
        self._next = self._shortest

    async def wait(self, provider: Provider, subscription: Subscription, wait: WorkWait) -> None:
        """Return at a notification, when the provider tells of work, or when the pause is over.

        Where the provider cannot wait, the clock does. Raises `StorageClosed` alone.
        """
        pause, self._next = self._next, min(self._next * 2, self._longest)
        began = provider.clock.now()
        try:
            work = provider.wait_for_work(replace(wait, timeout=pause))
            await first_of(subscription.wait(), work)
        except StorageClosed:
            raise
        except ProviderError as error:
            self._failures.failed(error)
            passed = timedelta(microseconds=max(0, provider.clock.now() - began))
            rest = provider.clock.sleep(max(pause, _AFTER_FAILURE) - passed)
            await first_of(subscription.wait(), rest)
        else:
            self._failures.succeeded()


class UnregisteredLooks:
    """Which looks also ask for work that no runtime has registered.

    One at every interval. While such looks find only what they found before, which stays marked
    and costs a write each time, they come more and more rarely.
    """

    def __init__(self, clock: Clock, interval: timedelta) -> None:
        self._clock = clock
        self._interval = self._shortest = interval
        self._last = clock.now()
        self._known: set[Hashable] = set()

    def unregistered_for(self) -> timedelta | None:
        """How long the work that the next look asks for has waited; None: ask for none."""
        now = self._clock.now()
        # A clock that stepped back must not put the next one off.
        if 0 <= now - self._last < to_microseconds(self._interval):
            return None
        self._last = now
        return self._shortest

    def message_arrived(self, work: Hashable) -> None:
        """A message for this work was stored: it may be the cancellation of unregistered work."""
        if work in self._known:
            self._interval = self._shortest

    def saw(self, unregistered: Iterable[Hashable]) -> None:
        """Note what unregistered work a look has found."""
        found = set(unregistered)
        if found and found <= self._known:
            longest = max(self._shortest, _LONGEST_INTERVAL)
            self._interval = min(self._interval * 2, longest)
            return
        self._interval = self._shortest
        if not found or len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known |= found
