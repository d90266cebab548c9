"""Whether work can be found: what running instances are told where the file is damaged there.

A lease call finds work by queues and by indexes. Where a page of these is damaged, every lease
call fails, and no instance moves though each can still be read. So that this does not look like
waiting, each running instance is shown as parked until a lease call succeeds again. The mark is
nowhere stored: it is true of this file as this process finds it.
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
"""The reason of the mark, as of everything stored that cannot be read."""


class Finding:
    """What the last lease calls of each kind have met."""

    def __init__(self, clock: Clock, on_change: Callable[[], None]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._marks: dict[str, ParkedState] = {}

    @contextmanager
    def by(self, call: str) -> Generator[None]:
        """A lease call: note whether it fails for damage."""
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
        """The instance as it is to be shown."""
        parked = self.parked(state.status, state.parked)
        return state if parked is state.parked else replace(state, parked=parked)

    def parked(self, status: str, stored: ParkedState | None) -> ParkedState | None:
        """The parked state to show for an instance of this status."""
        if stored is not None or status != RUNNING or not self._marks:
            return stored
        return next(iter(self._marks.values()))
