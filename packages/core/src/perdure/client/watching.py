"""Waits until an instance has ended.

Looks at once, then sleeps until this process notifies of the instance, the provider tells of a
change, or a poll is due: after 5 ms, doubling to 100 ms. A look reads the plain fields of one
instance, never a history, so a wait on an id that never starts stays cheap.

No change is missed: the subscription is cleared before each look, so a notification during or
after the look ends the sleep that follows; and the provider compares with what that look saw.
"""

from __future__ import annotations

from datetime import timedelta

from perdure.client.calls import has_ended, parked_of
from perdure.clock import Clock
from perdure.contract.notifier import Subscription
from perdure.contract.provider import Provider
from perdure.contract.waiting import first_of
from perdure.errors import ProviderError, WaitTimeout
from perdure.records.instances import InstanceState
from perdure.records.queries import ChangeWait

_SHORTEST_POLL = timedelta(milliseconds=5)
_LONGEST_POLL = timedelta(milliseconds=100)
_LONGEST_WAIT = timedelta(seconds=5)
"""How long a provider that tells of changes is trusted without a look."""


async def until_ended(
    provider: Provider, instance: str, timeout: timedelta | None
) -> InstanceState:
    """The plain fields of the instance once it has ended, whether it exists by now or not.

    Raises `WaitTimeout` when the time is over on the provider's clock. A look that was begun is
    finished first, so that an instance that has ended is seen however short the timeout.
    Retryable errors are waited out; one that stands in the way to the end is raised, as the
    cause of the `WaitTimeout` where the instance was seen before.
    """
    watch = _Watch(provider, instance, timeout)
    with provider.notifier.subscribe_instance(instance) as subscription:
        while True:
            # Before the look: a notification during it still counts then.
            subscription.clear()
            try:
                state = await watch.look()
                if state is not None and has_ended(state):
                    return state
                watch.raise_if_over(None)
                await watch.rest(subscription)
            except ProviderError as error:
                if not error.retryable:
                    raise
                watch.raise_if_over(error)
                await watch.rest_from_trouble(subscription)


class _Watch:
    """One wait: what it saw last, how long it still may take, how long it sleeps next."""

    def __init__(self, provider: Provider, instance: str, timeout: timedelta | None) -> None:
        self._provider = provider
        self._instance = instance
        self._timeout = timeout
        self._countdown = Countdown(provider.clock, timeout)
        self._told = provider.tells_of_changes
        self._poll = _SHORTEST_POLL
        self._looked = False
        self._state: InstanceState | None = None

    async def look(self) -> InstanceState | None:
        self._state = await self._provider.read_instance(self._instance)
        self._looked = True
        return self._state

    def raise_if_over(self, trouble: ProviderError | None) -> None:
        if self._timeout is None or self._countdown.left():
            return
        if trouble is not None and not self._looked:
            raise trouble
        raise WaitTimeout(
            self._instance,
            self._timeout,
            exists=self._state is not None,
            parked=None if self._state is None else parked_of(self._state.parked),
        ) from trouble

    async def rest(self, subscription: Subscription) -> None:
        longest = _LONGEST_WAIT if self._told else self._next_poll()
        state = self._state
        wait = ChangeWait(
            instance=self._instance,
            timeout=self._at_most(longest),
            exists=state is not None,
            last_commit=None if state is None else state.last_commit,
            parked=None if state is None else state.parked,
            until_ended=True,
        )
        await first_of(subscription.wait(), self._provider.wait_for_change(wait))

    async def rest_from_trouble(self, subscription: Subscription) -> None:
        # On the clock, since the provider may answer at once with the same trouble.
        pause = self._at_most(self._next_poll())
        await first_of(subscription.wait(), self._provider.clock.sleep(pause))

    def _next_poll(self) -> timedelta:
        poll = self._poll
        self._poll = min(2 * poll, _LONGEST_POLL)
        return poll

    def _at_most(self, longest: timedelta) -> timedelta:
        left = self._countdown.left()
        return longest if left is None else min(longest, left)


class Countdown:
    """What is left of a time limit."""

    def __init__(self, clock: Clock, limit: timedelta | None) -> None:
        self._clock = clock
        self._left = limit
        self._asked_at = clock.now()

    def left(self) -> timedelta | None:
        """What is left by now, never below zero; None for no limit."""
        now = self._clock.now()
        # A wall clock that steps back loses what passed since the last question, and no more.
        passed = timedelta(microseconds=max(0, now - self._asked_at))
        self._asked_at = now
        if self._left is not None:
            self._left = max(self._left - passed, timedelta(0))
        return self._left
