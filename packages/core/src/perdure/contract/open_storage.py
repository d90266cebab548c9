"""What a provider object holds while it is open: connections, threads, tasks.

    def __init__(self, options: Options, *, clock: Clock) -> None:
        super().__init__(clock=clock, description=options.description)
        self._storage: OpenStorage[Pool] = OpenStorage(options.description)

    async def __aenter__(self) -> Self:
        await self._storage.open(lambda: open_pool(self._options))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._storage.close()

    async def send(self, messages: Sequence[Message]) -> None:
        pool = self._storage.get("send")

So every call on an object that is not open raises `StorageClosed` (CALL-15), and so does a call in a
fork, where two processes would share one connection.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from perdure.errors import StorageClosed, StorageFailed


class Closes(Protocol):
    """What can be open."""

    async def close(self) -> None:
        """Let the calls under way end, and free everything."""
        ...


Opened = TypeVar("Opened", bound=Closes)


class OpenStorage(Generic[Opened]):
    """What one provider object has open, in the process that opened it.

    `description` names the storage in errors.
    """

    def __init__(self, description: str) -> None:
        self._description = description
        self._opened: Opened | None = None
        self._process = os.getpid()

    @property
    def if_open(self) -> Opened | None:
        """What is open, or None."""
        return self._opened

    async def open(self, opening: Callable[[], Awaitable[Opened]]) -> None:
        """Open it; raises `StorageFailed` if it is open already."""
        if self._opened is not None:
            raise StorageFailed(
                f"the provider of {self._description} is open already; open another one",
                operation="open",
            )
        self._process = os.getpid()
        self._opened = await opening()

    async def close(self) -> None:
        """Close what is open, also if the caller is cancelled. In a fork it stays open."""
        opened, self._opened = self._opened, None
        if opened is not None and os.getpid() == self._process:
            await asyncio.shield(asyncio.ensure_future(opened.close()))

    def get(self, operation: str) -> Opened:
        """What is open, for a call; raises `StorageClosed` if it is not, or in a fork."""
        if self._opened is None:
            raise StorageClosed(
                f"the provider of {self._description} is not open; use it inside 'async with'",
                operation=operation,
            )
        if os.getpid() != self._process:
            raise StorageClosed(
                f"the provider of {self._description} was opened before this process was forked;"
                " open one of its own here",
                operation=operation,
            )
        return self._opened
