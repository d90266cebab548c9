"""A provider that never answers, for tests of what ends a call."""

from __future__ import annotations

import asyncio
import threading

from perdure.contract import DelegatingProvider, Provider


class Stuck(DelegatingProvider):
    """A provider whose reads take for ever, and which says when one begins and ends."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.begun = threading.Event()
        self.cancelled = threading.Event()

    async def read_instance(self, instance):
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
