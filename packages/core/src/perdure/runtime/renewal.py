"""Extends the leases of everything that is under way, and tells those whose lease is gone."""

from __future__ import annotations

import logging
from datetime import timedelta

from perdure.clock import to_microseconds
from perdure.contract.provider import Provider
from perdure.errors import ProviderError
from perdure.runtime.activities import Activities
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.turns import Turns

_LOGGER = logging.getLogger("perdure.runtime")


class Renewal:
    """Renews what has used up a third of its lease; short work is never renewed."""

    def __init__(
        self, provider: Provider, turns: Turns, activities: Activities, options: RuntimeOptions
    ) -> None:
        self._provider = provider
        self._turns = turns
        self._activities = activities
        self._options = options

    async def renew_turns(self) -> None:
        """Renew turn leases for as long as the runtime runs."""
        lease = self._options.turn_lease
        while True:
            await self._provider.clock.sleep(lease / 6)
            aging = self._now() + to_microseconds(lease) * 2 // 3
            runs = {run.lease: run for run in self._turns.leases() if run.until < aging}
            if not runs:
                continue
            until = self._now() + to_microseconds(lease)
            try:
                lost = await self._provider.renew_turns(list(runs), lease_for=lease)
            except ProviderError as error:
                _LOGGER.warning("renewing turns failed: %s", error)
                continue
            for name, run in runs.items():
                if name in lost:
                    run.lease_lost()
                else:
                    run.until = until

    async def renew_activities(self) -> None:
        """Renew activity leases: the heartbeat of running activities, and how they hear of a
        cancellation that another runtime committed."""
        lease = self._options.activity_lease
        # Often enough that a cancellation elsewhere is heard of soon.
        interval = min(lease / 6, timedelta(seconds=5))
        while True:
            await self._provider.clock.sleep(interval)
            aging = self._now() + to_microseconds(lease) - to_microseconds(interval)
            leases = [name for name, until in self._activities.leases() if until < aging]
            if not leases:
                continue
            until = self._now() + to_microseconds(lease)
            try:
                lost = await self._provider.renew_activities(leases, lease_for=lease)
            except ProviderError as error:
                _LOGGER.warning("renewing activities failed: %s", error)
                continue
            self._activities.renewed((name for name in leases if name not in lost), until)
            self._activities.lost(lost)

    def _now(self) -> int:
        return self._provider.clock.now()
