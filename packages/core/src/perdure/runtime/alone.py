"""The gate that lets one piece of suspicious work run alone in the process.

Work that was leased several times without an outcome may be what ended its processes. It is run
once with nothing beside it, so that work which merely shared a process is never blamed. A lease of suspicious work counts against it,
so it is held only to run alone, never to wait for that: where others are inside, the work is
given back at once, uncounted, and newcomers are kept out for a while, so that it finds the
process empty when it comes again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from perdure.clock import Clock, Instant, to_microseconds
from perdure.waiting import first_of

SUSPECTED: Final = "suspected"
"""The reason of the mark on an instance whose work waits to run alone."""
RETURN_AFTER = timedelta(seconds=1)
"""For how long suspicious work that could not run alone is given back."""
_PATIENCE = to_microseconds(timedelta(seconds=30))
"""For how long newcomers are kept out for its sake."""
_PERIOD = to_microseconds(timedelta(minutes=5))
"""How often that is done at most, where the others inside do not come to an end."""


def suspicion(attempts: int) -> str:
    """What the mark says of work that could not run alone yet."""
    return (
        f"it was leased {attempts} times without an outcome, as happens to work that ends its"
        " process; it runs once more when nothing else runs in a process, and fails if that"
        " lease has no outcome either"
    )


class AloneGate:
    """Counts what runs; `alone` gives way to one piece of work where nothing does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inside = 0
        self._turned_away = 0
        """Suspicious work that is being given back."""
        self._closed = False
        self._emptying_since: Instant | None = None
        self._changed = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether work may begin now."""
        return not self._closed and (self._emptying_since is None or not self._emptying(0))

    def try_enter(self) -> bool:
        """Begin a piece of work if it may begin now; else `enter` waits."""
        if not self.open:
            return False
        self._inside += 1
        return True

    async def enter(self) -> None:
        """Begin a piece of work, as soon as nothing wants to run alone. Call `leave` at its end."""
        while not self.open:
            self._changed.clear()
            left = timedelta(microseconds=self._emptying(0))
            if self._closed or not left:
                await self._changed.wait()
            else:
                await first_of(self._changed.wait(), self._clock.sleep(left))
        self._inside += 1

    def leave(self) -> None:
        """End a piece of work."""
        self._inside -= 1
        self._changed.set()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[bool]:
        """Let the work of the block run alone; gives False at once where others run.

        The block then gives its work back, for `RETURN_AFTER`, uncounted.
        """
        if self._closed or self._inside:
            if not self._emptying(_PERIOD):
                self._emptying_since = self._clock.now()
            self._turned_away += 1
            try:
                yield False
            finally:
                self._turned_away -= 1
                self._changed.set()
            return
        self._closed = True
        self._emptying_since = None
        try:
            await self._until_all_are_away()
            yield True
        finally:
            self._closed = False
            self._changed.set()

    async def _until_all_are_away(self) -> None:
        """Whoever was leased in the same call is given back before anything can end the process."""
        await asyncio.sleep(0)
        while self._turned_away:
            self._changed.clear()
            await self._changed.wait()

    def _emptying(self, period: int) -> int:
        """Microseconds for which newcomers are still kept out, and then `period` goes on."""
        if self._emptying_since is None:
            return 0
        passed = self._clock.now() - self._emptying_since
        # A clock that stepped back must not keep anybody out for longer.
        return max(0, max(_PATIENCE, period) - passed) if passed >= 0 else 0
