"""The runtime of a stage: the real one, in which an activity can be replaced."""

from __future__ import annotations

from perdure.authoring.functions import ActivityDefinition
from perdure.runtime.runtime import Runtime


class StageRuntime(Runtime):
    """A runtime that lets a test replace activities and clear its memory."""

    def replace_activity(self, definition: ActivityDefinition) -> None:
        """Run this function under the name from now on."""
        self._catalog.replace_activity(definition)

    async def evict(self) -> None:
        """Give idle leases back and drop every execution between its turns."""
        self._turn_leases.let_go()
        await self._services.executions.clear()

    def keep_no_executions(self) -> None:
        """Rebuild an instance from its history for each lease."""
        self._services.executions.keep_none()

    async def kill(self) -> None:
        """Leave the block without a wait for anything: nothing that is under way counts."""
        self._shutdown.hurry()  # without the grace period
        self._shutdown.hurry()  # without the leases given back
        await self.__aexit__(None, None, None)
