"""Extends the leases of everything that is under way, and tells those whose lease is gone.

A process that was suspended, or whose event loop stood still, comes back to leases that have
expired. They stand until somebody else takes the work, so a runtime that has not renewed for long
does it before it asks for new leases (`overdue`): it would else take its own work as another's,
and count that as a death.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

from perdure.clock import Instant, to_microseconds
from perdure.contract.provider import Provider
from perdure.errors import ProviderError
from perdure.runtime.options import RuntimeOptions

if TYPE_CHECKING:
    from perdure.runtime.activities import Activities
    from perdure.runtime.turns import Turns

_LOGGER = logging.getLogger("perdure.runtime")
_LONGEST_INTERVAL = timedelta(seconds=5)
"""Between the renewals of activities: how late they hear of a cancellation elsewhere."""


class Keeper(ABC):
    """Keeps the leases of one kind, in rounds.

    After a round every lease has at least two thirds of its length before it, so none can expire
    before `overdue` says so.
    """

    what: ClassVar[str]
    """What is leased, for messages."""

    def __init__(self, provider: Provider, lease_for: timedelta, interval: timedelta) -> None:
        self._provider = provider
        self._lease_for = lease_for
        self._interval = interval
        self._length = to_microseconds(lease_for)
        self._last_round = provider.clock.now()
        # A round that began before a stall must not be taken for one after it.
        self._turn = asyncio.Lock()

    @property
    def overdue(self) -> bool:
        """Whether leases may have expired since the last round, or a clock has stepped back."""
        passed = self._provider.clock.now() - self._last_round
        return not 0 <= passed <= self._length // 2

    async def keep_for_ever(self) -> None:
        """Renew what needs it, again and again."""
        while True:
            await self._provider.clock.sleep(self._interval)
            try:
                await self.keep()
            except ProviderError as error:
                _LOGGER.warning("renewing %s failed: %s", self.what, error)

    async def keep(self) -> None:
        """Renew what needs it now; raises `ProviderError` where the storage fails."""
        async with self._turn:
            began = self._provider.clock.now()
            await self._renew(began, began + self._length)
            self._last_round = began

    def _ages(self, until: Instant, now: Instant, margin: int) -> bool:
        """Whether a lease with this end needs renewal, `margin` of its length being used up.

        An end later than a whole lease from now was left by a clock that stepped back.
        """
        return not now + self._length - margin <= until <= now + self._length

    @abstractmethod
    async def _renew(self, now: Instant, until: Instant) -> None:
        """Renew what needs it, and note the new ends and the losses."""


class TurnKeeper(Keeper):
    """Keeps turn leases: renews what has used up a third, so that short work is never renewed."""

    what = "turns"

    def __init__(self, provider: Provider, turns: Turns, options: RuntimeOptions) -> None:
        super().__init__(provider, options.turn_lease, options.turn_lease / 6)
        self._turns = turns

    async def _renew(self, now: Instant, until: Instant) -> None:
        runs = {
            run.lease: run
            for run in self._turns.leases()
            if self._ages(run.until, now, self._length // 3)
        }
        if not runs:
            return
        lost = await self._provider.renew_turns(list(runs), lease_for=self._lease_for)
        for name, run in runs.items():
            if name in lost:
                run.lease_lost()
            else:
                run.until = until


class ActivityKeeper(Keeper):
    """Keeps activity leases: the heartbeat of running activities, and, where the provider does not
    tell of cancellations, how they hear of one that another runtime committed."""

    what = "activities"

    def __init__(self, provider: Provider, activities: Activities, options: RuntimeOptions) -> None:
        lease = options.activity_lease
        super().__init__(provider, lease, min(lease / 6, _LONGEST_INTERVAL))
        self._activities = activities

    async def _renew(self, now: Instant, until: Instant) -> None:
        # Where a renewal is the only way to hear of a cancellation, it comes in each round.
        tells = self._provider.tells_of_cancellations
        margin = self._length // 3 if tells else to_microseconds(self._interval)
        leases = [name for name, end in self._activities.leases() if self._ages(end, now, margin)]
        if not leases:
            return
        lost = await self._provider.renew_activities(leases, lease_for=self._lease_for)
        self._activities.renewed((name for name in leases if name not in lost), until)
        self._activities.lost(lost)
