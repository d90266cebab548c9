"""Extends the leases of everything that is under way, and tells work whose lease is gone.

A process that was suspended, or whose event loop stood still, comes back to leases that have
expired. They stand until another process takes the work (LEASE-12, ACT-14), so a runtime that has
not renewed for long renews before it asks for new leases (`is_overdue`). Otherwise it would take
over its own work, and count that as the end of a process.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import ClassVar

from perdure.clock import Instant, to_microseconds
from perdure.contract.provider import Provider
from perdure.errors import ProviderError
from perdure.runtime.repeated_failures import RepeatedFailures


class LeaseRenewal(ABC):
    """Renews the leases of one kind, in rounds.

    After a round every lease has at least two thirds of its length left, so none can expire
    before `is_overdue` says so.
    """

    what: ClassVar[str]
    """What is leased, for messages."""

    def __init__(self, provider: Provider, lease_for: timedelta, interval: timedelta) -> None:
        self.provider = provider
        self.lease_for = lease_for
        self.interval = interval
        self.length = to_microseconds(lease_for)
        self._last_round = provider.clock.now()
        # A round that began before a stall must not be taken for one after it.
        self._lock = asyncio.Lock()

    @property
    def is_overdue(self) -> bool:
        """Whether leases may have expired since the last round, or a clock has stepped back."""
        passed = self.provider.clock.now() - self._last_round
        return not 0 <= passed <= self.length // 2

    async def renew_for_ever(self) -> None:
        """Renew what needs it, again and again."""
        failures = RepeatedFailures(f"renewing {self.what}", self.provider.clock)
        while True:
            await self.provider.clock.sleep(self.interval)
            try:
                await self.renew()
                failures.succeeded()
            except ProviderError as error:
                failures.failed(error)

    async def renew(self) -> None:
        """Renew what needs it now; raises `ProviderError` if the storage fails."""
        async with self._lock:
            began = self.provider.clock.now()
            await self._renew(began, began + self.length)
            self._last_round = began

    def is_due(self, until: Instant, now: Instant, margin: int) -> bool:
        """Whether a lease with this end needs renewal, `margin` of its length being used up.

        An end later than a whole lease from now was left by a clock that stepped back.
        """
        return not now + self.length - margin <= until <= now + self.length

    @abstractmethod
    async def _renew(self, now: Instant, until: Instant) -> None:
        """Renew what needs it, and note the new ends and the losses."""
