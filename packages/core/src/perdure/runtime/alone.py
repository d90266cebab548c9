"""The gate that lets one piece of suspicious work run alone in the process.

Work that may have ended its process before is run once with nothing beside it, so that whoever
merely shared the process is never blamed for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from perdure.clock import Clock
from perdure.waiting import first_of


class AloneGate:
    """Counts what runs; `alone` waits until nothing does and keeps others out."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._inside = 0
        self._closed = False
        self._changed = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether work may begin now."""
        return not self._closed

    def try_enter(self) -> bool:
        """Begin a piece of work if it may begin now; else `enter` waits."""
        if self._closed:
            return False
        self._inside += 1
        return True

    async def enter(self) -> None:
        """Begin a piece of work, as soon as nothing runs alone. Call `leave` at its end."""
        while self._closed:
            self._changed.clear()
            await self._changed.wait()
        self._inside += 1

    def leave(self) -> None:
        """End a piece of work."""
        self._inside -= 1
        self._changed.set()

    @asynccontextmanager
    async def alone(self, patience: timedelta) -> AsyncGenerator[bool]:
        """Let the work of the block run alone; gives False where that was not to be had.

        Others that run when it begins may go on for as long as `patience`.
        """
        if self._closed:
            yield False
            return
        self._closed = True
        try:
            await first_of(self._drained(), self._clock.sleep(patience))
            yield self._inside == 0
        finally:
            self._closed = False
            self._changed.set()

    async def _drained(self) -> None:
        while self._inside:
            self._changed.clear()
            if self._inside:
                await self._changed.wait()
