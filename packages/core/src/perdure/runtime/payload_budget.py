"""Limits how much payload the turns of a runtime hold that are being made at once.

From the delivery of a message until its commit is confirmed, its payload is in memory about six
times: as the message, its text, its value, and in the events and activities of the commit. Half of
that is left afterwards. So a hundred large turns at once need twice the memory of what they leave.
A few at a time lose no speed, because the store takes long for a large commit by itself.

Small turns take no part: a full set of them holds less than the limit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class PayloadBudget:
    """Shared by the turns of a runtime, which it serves in their order.

    A turn that is larger than the limit by itself is made with no other large one.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_use = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, size: int) -> AsyncGenerator[None]:
        """Hold so many bytes while the block lasts; wait for them first."""
        if self._waiting or not self._fits(size):
            await self._wait(size)
        else:
            self._in_use += size
        try:
            yield
        finally:
            self._give_back(size)

    async def _wait(self, size: int) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._let_in()  # those behind it may fit
            else:
                self._give_back(size)
            raise

    def _give_back(self, size: int) -> None:
        self._in_use -= size
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            size, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif self._fits(size):
                self._waiting.popleft()
                self._in_use += size
                turn.set_result(None)
            else:
                return

    def _fits(self, size: int) -> bool:
        return not self._in_use or self._in_use + size <= self._limit
