"""Tells observers what the provider asks of its storage, now and then."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from perdure.contract.provider import Provider
from perdure.observe import StorageUsed
from perdure.runtime.observers import Observers

EVERY = timedelta(minutes=1)


class StorageUsage:
    """The usage of one provider object, from when the runtime is made."""

    def __init__(self, provider: Provider, observers: Observers) -> None:
        self._provider = provider
        self._observers = observers
        self._told: Mapping[str, float] = dict(provider.read_usage())

    @property
    def is_told(self) -> bool:
        """Whether there is an observer, and the provider counts."""
        return self._observers.any and bool(self._told)

    async def run(self) -> None:
        """Tell of it again and again."""
        while True:
            await self._provider.clock.sleep(EVERY)
            self.tell()

    def tell(self) -> None:
        """Tell what was used since the last time, if anything was."""
        if not self.is_told:
            return
        usage = dict(self._provider.read_usage())
        more = {name: used - self._told.get(name, 0) for name, used in usage.items()}
        more = {name: used for name, used in more.items() if used > 0}
        self._told = usage
        if more:
            self._observers.notify(StorageUsed(at=self._provider.clock.now(), usage=more))
