"""Tells systemd how the process is; without systemd it tells nothing.

The protocol is that of `sd_notify`: datagrams to the socket that the environment names.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Service:
    """What systemd told the process about itself."""

    address: str | None
    """The socket on which systemd listens."""
    watchdog_seconds: float | None
    """How long systemd waits for a sign of life before it ends the process."""

    @classmethod
    def from_environment(cls) -> Self:
        watchdog = os.environ.get("WATCHDOG_USEC")
        return cls(
            address=os.environ.get("NOTIFY_SOCKET"),
            watchdog_seconds=int(watchdog) / 1_000_000 if watchdog else None,
        )

    def tell(self, state: str) -> None:
        """Send one state, such as `READY=1`."""
        if self.address is None:
            return
        # A leading @ stands for a socket without a file.
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), address)

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[None]:
        """Give signs of life while the block lasts; a blocked event loop gives none."""
        beating = asyncio.create_task(self._beat())
        try:
            yield
        finally:
            beating.cancel()

    async def _beat(self) -> None:
        while self.watchdog_seconds is not None:
            self.tell("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 3)
