"""One waiting call: what wakes it, and when it looks at the file again in any case.

Every call looks first and then sleeps. A wake during or after a look ends the sleep that follows,
so a change is never missed. All sleeping goes through the clock.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from perdure.clock import Clock
from perdure.contract import ActivityLease, ChangeWait, Instant

from perdure_sqlite._schema.ready_index import ALWAYS


class Waiter:
    """One waiting call."""

    __slots__ = ("_error", "_woken", "activities", "turns", "until")

    def __init__(self, *, turns: bool = False, activities: bool = False) -> None:
        self.turns = turns
        self.activities = activities
        self.until: Instant = ALWAYS
        """When it looks again even if nothing wakes it."""
        self._woken: asyncio.Future[None] | None = None
        self._error: Exception | None = None

    def prepare(self) -> None:
        """Forget earlier wakes; call this before each look. Raises what `fail` was told."""
        if self._error is not None:
            raise self._error
        self._woken = asyncio.get_running_loop().create_future()

    def wake(self) -> None:
        """Make the call look again."""
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def wake_for_other_process(self) -> None:
        """Make the call look again, because another process has committed something."""
        self.wake()

    def fail(self, error: Exception) -> None:
        """Make the call raise, also if it was woken before and is about to look."""
        self._error = error
        self.wake()

    async def sleep(self, clock: Clock) -> bool:
        """Sleep until a wake or until `until`; returns whether that time was reached."""
        woken = self._woken
        if woken is None:
            raise AssertionError("a waiter prepares before it sleeps")
        timer = asyncio.ensure_future(_sleep_until(clock, self.until))
        # A timer that is cancelled here ends only during the next look, and must not wake that.
        timer.add_done_callback(lambda done: None if done.cancelled() else self.wake())
        try:
            await woken
            if self._error is not None:
                raise self._error
            if timer.done():
                timer.result()
            return timer.done()
        finally:
            timer.cancel()

    async def pause(self, clock: Clock, until: Instant) -> None:
        """Sleep until then, however often it is woken; raises what `fail` was told."""
        self.until = until
        while True:
            self.prepare()
            if await self.sleep(clock):
                return


class ChangeWaiter(Waiter):
    """One call that waits for a change of an instance."""

    __slots__ = ("_is_for_commit", "wait")

    def __init__(self, wait: ChangeWait) -> None:
        super().__init__()
        self.wait = wait
        self._is_for_commit = False

    def wake_for_commit(self) -> None:
        """Make the call look again, because this process has committed a change of the instance."""
        self._is_for_commit = True
        self.wake()

    def take_commit(self) -> bool:
        """Whether such a commit has woken the call since this was last asked."""
        is_for_commit, self._is_for_commit = self._is_for_commit, False
        return is_for_commit


class LeaseWaiter(Waiter):
    """One call that waits for the loss of leases; it knows which of them may have changed."""

    __slots__ = ("_is_foreign", "_stale", "leases")

    def __init__(self, leases: Sequence[ActivityLease]) -> None:
        super().__init__()
        self.leases: dict[str, list[ActivityLease]] = defaultdict(list)
        """By instance."""
        for lease in leases:
            self.leases[lease.instance].append(lease)
        self._stale = set(self.leases)
        self._is_foreign = False

    @property
    def is_stale(self) -> bool:
        """Whether a lease may have changed since the last look."""
        return bool(self._stale)

    def wake_for(self, instance: str) -> None:
        """Make the call look again at the leases of one instance."""
        self._stale.add(instance)
        self.wake()

    def wake_for_other_process(self) -> None:
        """Make the call look again at all leases, because another process has committed something."""
        self._stale.update(self.leases)
        self._is_foreign = True
        self.wake()

    def take_stale(self) -> list[ActivityLease]:
        """The leases to look at now."""
        stale, self._stale = self._stale, set[str]()
        return [lease for instance in stale for lease in self.leases[instance]]

    def take_foreign(self) -> bool:
        """Whether another process has woken the call since this was last asked."""
        foreign, self._is_foreign = self._is_foreign, False
        return foreign


async def _sleep_until(clock: Clock, instant: Instant) -> None:
    # A clock may step before this starts to run, so the duration is computed here.
    await clock.sleep(timedelta(microseconds=instant - clock.now()))
