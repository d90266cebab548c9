"""Waiting until an instance is as the caller wants it.

A wait reads the instance at once, and then sleeps. Where the provider tells of changes, it ends the
sleep, and may return the changed state, which spares the next read. Where it does not, a
notification in this process or the next poll ends it: after 5 ms, doubling to 100 ms. A wait reads
the plain fields of one instance and never a history, so waiting for an id that never starts is cheap.

A wait for the end of an instance that was just started does not read it first, where the provider
tells of changes: it asks to be told of anything else than an instance without a commit.

No change is missed: the subscription is cleared before each read, so a notification during or after
the read ends the sleep that follows. The provider compares with the state that the wait saw last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias, TypeVar

from perdure.client.calls import parked_of
from perdure.clock import Clock
from perdure.contract.notifier import Subscription
from perdure.contract.provider import Provider
from perdure.contract.waiting import first_of
from perdure.errors import ProviderError, WaitTimeout
from perdure.model.durations import to_duration
from perdure.records.instances import InstanceState
from perdure.records.queries import ChangeWait

T = TypeVar("T")

Look: TypeAlias = Callable[[InstanceState | None], Awaitable[T | None]]
"""What the caller waits for, if the state that was just read shows it; else None."""

_SHORTEST_POLL = timedelta(milliseconds=5)
_LONGEST_POLL = timedelta(milliseconds=100)
_LONGEST_WAIT = timedelta(seconds=5)
"""The longest sleep without a read if the provider tells of changes."""


async def until(
    provider: Provider,
    instance: str,
    timeout: timedelta | float | None,
    look: Look[T],
    *,
    waits_for: str = "end",
    until_ended: bool = False,
    just_started: bool = False,
) -> T:
    """What `look` found first; the instance need not exist yet.

    Raises `InvalidDuration`, and `WaitTimeout` when the timeout is over on the provider's clock,
    which says that the instance did not do what `waits_for` names. A look under way is finished
    first, so what is there is seen even with the shortest timeout. Retryable errors are retried
    until the timeout: then the last one is the cause of the `WaitTimeout`, or is raised itself if no
    read has succeeded. `until_ended` tells the provider that only the creation, the end and the
    parking matter, and `just_started` that the caller has started the instance and knows no more of it.
    """
    limit = None if timeout is None else to_duration(timeout, "timeout")
    wait = _Wait(
        provider,
        instance,
        limit,
        waits_for=waits_for,
        until_ended=until_ended,
        exists=just_started,
    )
    with provider.notifier.subscribe_instance(instance) as subscription:
        told: InstanceState | None = None
        reads_first = not (just_started and provider.tells_of_changes)
        while True:
            try:
                if not reads_first:
                    reads_first = True
                    told = await wait.sleep(subscription)
                found = await look(told or await wait.read(subscription))
                if found is not None:
                    return found
                wait.raise_if_over(None)
                told = await wait.sleep(subscription)
            except ProviderError as error:
                if not error.retryable:
                    raise
                told = None
                wait.raise_if_over(error)
                await wait.sleep_after_error(subscription)


class _Wait:
    """One wait: the last state that it saw, the time that is left, and the next sleep."""

    def __init__(
        self,
        provider: Provider,
        instance: str,
        timeout: timedelta | None,
        *,
        waits_for: str,
        until_ended: bool,
        exists: bool,
    ) -> None:
        self._waits_for = waits_for
        self._until_ended = until_ended
        self._provider = provider
        self._instance = instance
        self._timeout = timeout
        self._countdown = Countdown(provider.clock, timeout)
        self._poll = _SHORTEST_POLL
        self._has_read = exists
        """Whether it is known if the instance exists."""
        self._exists = exists
        self._state: InstanceState | None = None

    async def read(self, subscription: Subscription) -> InstanceState | None:
        # Before the read, so that a notification during it counts.
        subscription.clear()
        self._saw(await self._provider.read_instance(self._instance))
        return self._state

    def _saw(self, state: InstanceState | None) -> None:
        self._state, self._exists, self._has_read = state, state is not None, True

    def raise_if_over(self, error: ProviderError | None) -> None:
        if self._timeout is None or self._countdown.left():
            return
        if error is not None and not self._has_read:
            raise error
        raise WaitTimeout(
            self._instance,
            self._timeout,
            exists=self._exists,
            parked=None if self._state is None else parked_of(self._state.parked),
            waited_for=self._waits_for,
        ) from error

    async def sleep(self, subscription: Subscription) -> InstanceState | None:
        """Return when the instance may have changed, with its state if the provider tells that."""
        self._provider.event_loop.check_waiting()
        if not self._provider.tells_of_changes:
            change = self._change(self._next_poll())
            await first_of(subscription.wait(), self._provider.wait_for_change(change))
            return None
        if subscription.is_notified:
            return None
        # Not together with the subscription: its notification would break off the provider's call,
        # which ends at the same change and may know the state.
        told = await self._provider.wait_for_change(self._change(_LONGEST_WAIT))
        if told is not None:
            self._saw(told)
        return told

    def _change(self, longest: timedelta) -> ChangeWait:
        state = self._state
        return ChangeWait(
            instance=self._instance,
            timeout=self._at_most(longest),
            exists=self._exists,
            last_commit=None if state is None else state.last_commit,
            parked=None if state is None else state.parked,
            until_ended=self._until_ended,
        )

    async def sleep_after_error(self, subscription: Subscription) -> None:
        # On the clock, because the provider may raise the same error at once.
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
    """The time that is left of a limit."""

    def __init__(self, clock: Clock, limit: timedelta | None) -> None:
        self._clock = clock
        self._left = limit
        self._asked_at = clock.now()

    def left(self) -> timedelta | None:
        """The time that is left, never below zero; None without a limit."""
        now = self._clock.now()
        # A clock that steps back loses only the time since the last call.
        passed = timedelta(microseconds=max(0, now - self._asked_at))
        self._asked_at = now
        if self._left is not None:
            self._left = max(self._left - passed, timedelta(0))
        return self._left
