"""Shows running instances as parked while damage to the file keeps work from being found.

A lease call finds work by queues and indexes. If a page of these is damaged, every lease call
fails: no instance advances, although each can still be read. To tell this apart from waiting, every
running instance is shown as parked until a lease call succeeds again. The mark is not stored, since
it describes what this process finds in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from perdure.clock import Clock
from perdure.contract import InstanceState, ParkedState
from perdure.errors import StorageCorrupt

from perdure_sqlite._sql.instances import RUNNING

UNDECODABLE: Final = "undecodable"
"""The reason of the mark, as for all stored data that cannot be read."""


class DamageMark:
    """The parked mark that results from the last lease call of each kind."""

    def __init__(self, clock: Clock, on_change: Callable[[], None]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._marks: dict[str, ParkedState] = {}

    @property
    def is_set(self) -> bool:
        """Whether running instances are shown as parked."""
        return bool(self._marks)

    @contextmanager
    def watching(self, call: str) -> Generator[None]:
        """Runs a lease call in the block, and records whether it fails because of damage."""
        try:
            yield
        except StorageCorrupt as error:
            if call not in self._marks:
                self._marks[call] = ParkedState(
                    reason=UNDECODABLE,
                    details=f"no work can be found: {error}",
                    since=self._clock.now(),
                )
                self._on_change()
            raise
        if self._marks.pop(call, None) is not None:
            self._on_change()

    def with_mark(self, state: InstanceState) -> InstanceState:
        """The state to show for an instance."""
        parked = self.parked(state.status, state.parked)
        return state if parked is state.parked else replace(state, parked=parked)

    def parked(self, status: str, stored: ParkedState | None) -> ParkedState | None:
        """The parked state to show for an instance with this status."""
        if stored is not None or status != RUNNING or not self._marks:
            return stored
        return next(iter(self._marks.values()))
