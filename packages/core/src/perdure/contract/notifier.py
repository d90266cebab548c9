"""The doorbell of a provider object: wakes whoever waits in the same process.

Core rings it after each call that may have made work or changed an instance, so that nothing
within one process waits for a poll. A ring carries no data: whoever wakes looks at the store.
A ring is never lost: a listener hears every ring since it began to listen, not since it waits.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Bell:
    """One listener: set by a ring, cleared by the listener before it looks."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the listener, now or when it next waits."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Forget earlier rings; call it before looking at the store, never after."""
        self._rung = False

    async def wait(self) -> None:
        """Return once it was rung since the last clear. One waiter at a time."""
        if self._rung:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Doorbell:
    """The bells of one provider object: for turns, for activities, and by instance."""

    def __init__(self) -> None:
        self._turns: list[Bell] = []
        self._activities: list[Bell] = []
        self._instances: dict[str, list[Bell]] = defaultdict(list)
        self._mail: list[Callable[[str], None]] = []

    def ring_turns(self, instance: str | None = None) -> None:
        """There may be an instance to lease; `instance` is the one that got a message, if known."""
        for bell in self._turns:
            bell.ring()
        if instance is not None:
            for listener in self._mail:
                listener(instance)

    def ring_activities(self) -> None:
        """There may be an activity to lease."""
        for bell in self._activities:
            bell.ring()

    def ring_instance(self, instance: str) -> None:
        """This instance may have ended or been parked."""
        for bell in self._instances.get(instance, ()):
            bell.ring()

    @contextmanager
    def listen_turns(self) -> Generator[Bell]:
        """A bell for work of orchestrations, as long as the block lasts."""
        bell = Bell()
        self._turns.append(bell)
        try:
            yield bell
        finally:
            self._turns.remove(bell)

    @contextmanager
    def listen_mail(self, listener: Callable[[str], None]) -> Generator[None]:
        """Call `listener` with the id of every instance that gets a message in this process."""
        self._mail.append(listener)
        try:
            yield
        finally:
            self._mail.remove(listener)

    @contextmanager
    def listen_activities(self) -> Generator[Bell]:
        """A bell for work of activities, as long as the block lasts."""
        bell = Bell()
        self._activities.append(bell)
        try:
            yield bell
        finally:
            self._activities.remove(bell)

    @contextmanager
    def listen_instance(self, instance: str) -> Generator[Bell]:
        """A bell for the end or the parking of one instance, as long as the block lasts."""
        bell = Bell()
        self._instances[instance].append(bell)
        try:
            yield bell
        finally:
            listeners = self._instances[instance]
            listeners.remove(bell)
            if not listeners:
                del self._instances[instance]
