"""Deletes ended instances that are older than the runtime keeps them, a few at a time.

Every runtime with a retention looks by itself, at random moments. Two that meet at one instance do
no harm: a deletion is safe to repeat, and only one of them counts it. Work comes first: each
deletion waits for a moment in which the runtime is idle, though not for ever, because a store that
is always busy grows too.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import timedelta

from perdure.client import Client
from perdure.client.instance_filter import InstanceFilter
from perdure.clock import to_datetime, to_microseconds
from perdure.contract.provider import Provider
from perdure.errors import CapabilityMissing, ProviderError, StorageClosed
from perdure.observe import InstancesDeleted
from perdure.records.instances import InstanceStatus
from perdure.records.limits import DELETION, LISTING
from perdure.runtime.observers import Observers
from perdure.runtime.options import Retention
from perdure.runtime.repeated_failures import RepeatedFailures

_LOGGER = logging.getLogger("perdure.runtime")
_PATIENCE = timedelta(seconds=1)
"""How long a deletion waits for a runtime that is busy."""
_SOON = 0.05
"""The share of `every` until the next look where one has found more than it deletes at once."""


class RetentionJob:
    """The deletions of one runtime."""

    def __init__(
        self,
        provider: Provider,
        retention: Retention,
        observers: Observers,
        is_busy: Callable[[], bool],
    ) -> None:
        for capability in (DELETION, LISTING):
            if capability not in provider.capabilities:
                raise CapabilityMissing(capability, provider.description, what="a retention")
        self._clock = provider.clock
        self._client = Client(provider)
        self._retention = retention
        self._observers = observers
        self._is_busy = is_busy
        self._failures = RepeatedFailures("deleting by retention", provider.clock)
        self._random = random.Random()  # noqa: S311 # spreads the looks of runtimes
        self.deleted = 0
        """How many instances without a parent it has deleted, each with its children."""

    async def run(self) -> None:
        """Look again and again; raises `StorageClosed` alone."""
        share = 1.0
        while True:
            await self._clock.sleep(self._retention.every * share * self._random.uniform(0.5, 1.5))
            try:
                has_more = await self._look()
            except StorageClosed:
                raise
            except ProviderError as error:
                self._failures.failed(error)
                has_more = False
            else:
                self._failures.succeeded()
            share = _SOON if has_more else 1.0

    async def _look(self) -> bool:
        """Delete what is too old; returns whether there may be more."""
        retention, deleted = self._retention, list[str]()
        for status, age in (
            (InstanceStatus.COMPLETED, retention.completed),
            (InstanceStatus.FAILED, retention.failed),
        ):
            if age is not None:
                await self._delete(status, age, deleted)
        if deleted:
            _LOGGER.info("deleted %d ended instances, which are kept no longer", len(deleted))
            if self._observers.any:
                self._observers.notify(
                    InstancesDeleted(at=self._clock.now(), instances=tuple(deleted))
                )
        return len(deleted) >= retention.at_once

    async def _delete(self, status: InstanceStatus, age: timedelta, deleted: list[str]) -> None:
        before = to_datetime(max(0, self._clock.now() - to_microseconds(age)))
        # Listings are in the order of creation: with that bound, they begin behind what is kept.
        old = InstanceFilter(status=status, created_before=before, updated_before=before)
        while len(deleted) < self._retention.at_once:
            if self._is_busy():
                await self._clock.sleep(_PATIENCE * self._random.uniform(0.5, 1.5))
            found = await self._client.delete_instances(old, limit=1)
            if not found:
                return
            deleted.extend(found)
            self.deleted += len(found)
