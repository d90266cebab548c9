"""The runtime of a stage: the real one, which a test can clear and kill."""

from __future__ import annotations

from perdure.authoring.catalog import Catalog
from perdure.runtime.runtime import Runtime


class StageRuntime(Runtime):
    """A runtime that lets a test replace its code, clear its memory and kill it."""

    @property
    def catalog(self) -> Catalog:
        """The code that it runs; a test may replace definitions in it."""
        return self._catalog

    @property
    def has_lingering_threads(self) -> bool:
        """Whether a function is still in its thread although its attempt is over."""
        return self._activities.has_lingering_threads

    async def evict(self) -> None:
        """Give idle leases back and drop every execution between its turns."""
        self._turn_leases.let_go()
        self._services.executions.clear()

    def keep_no_executions(self) -> None:
        """Rebuild an instance from its history for each lease."""
        self._services.executions.keep_none()

    def cancel_all(self) -> None:
        """Cancel everything that is under way, so that a call that ends is no failed call."""
        for task in (
            *self._leasing,
            *self._caring,
            *self._turns.tasks(),
            *self._activities.tasks(),
        ):
            task.cancel()

    async def kill(self) -> None:
        """Leave the block without a wait for anything: nothing that is under way counts."""
        self._shutdown.hurry()  # without the grace period
        self._shutdown.hurry()  # without the leases given back
        await self.__aexit__(None, None, None)
