"""What deletions have left to remove: large rows, which go in parts after the instance is out of sight.

Deletions that end at the same time share one removal, which also takes what crashed processes left.
"""

from __future__ import annotations

import logging
from typing import Final

from perdure.contract import CallGroups, Group, in_tasks
from perdure.errors import ProviderError

from perdure_postgres._calls import Calls

_LOGGER: Final = logging.getLogger("perdure.postgres")
_ROWS: Final = 1000
_DELETION: Final = "delete_instance"


class Leftovers:
    """Removes what deletions of one provider object have left."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._groups = CallGroups[None, None](
            in_tasks(self._carry_out), description=calls.database.storage, at_once=1
        )

    async def remove(self) -> None:
        """Remove all.

        The deletion has taken effect, so a failure leaves the rest to the next one.
        """
        try:
            await self._groups.ask(_DELETION, None)
        except ProviderError as error:
            _LOGGER.warning("the next deletion removes what is left of this one: %s", error)

    async def drain(self) -> None:
        """Refuse new removals, and return when the others have ended."""
        await self._groups.drain()

    async def _carry_out(self, group: Group[None, None]) -> None:
        more = True
        while more:
            [(more,)] = await self._calls.read_plain(_DELETION, "remove_leftovers", _ROWS)
        for each in group.calls:
            each.succeed(None)
