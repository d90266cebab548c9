"""A provider whose methods fail in every way that a storage, or a driver, can."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeVar

from perdure.contract import DelegatingProvider, Provider, ProviderCall
from perdure.errors import StorageFailed, StorageUnavailable

R = TypeVar("R")

Fault = Literal["is throttled", "fails for good", "hangs", "is cancelled", "has a bug"]
FAULTS: tuple[Fault, ...] = (
    "is throttled",
    "fails for good",
    "hangs",
    "is cancelled",
    "has a bug",
)
LOOPED = (
    "lease_turns",
    "lease_activities",
    "renew_turns",
    "renew_activities",
    "wait_for_work",
    "wait_for_cancellation",
)
"""The calls that serve many instances at once."""
SINGLE = (
    "commit_turn",
    "read_history",
    "release_turn",
    "complete_activity",
    "release_activity",
    "read_instance",
)
"""The calls that serve one instance."""
EVERY_COMBINATION = os.environ.get("PERDURE_TEST_EVERY_COMBINATION") == "1"


def combined(ways: Sequence[tuple[object, ...]], *, few: int) -> list[tuple[object, ...]]:
    """Each call with each fault, in a few of these ways in turn, or in all: `nox -s combinations`.

    Their number has no divisor in common with that of the faults, so that each call and each fault
    meets each way.
    """
    pairs = itertools.product((*LOOPED, *SINGLE), FAULTS)
    count = len(ways) if EVERY_COMBINATION else few
    return [
        (method, fault, *ways[(number + each * len(ways) // count) % len(ways)])
        for number, (method, fault) in enumerate(pairs)
        for each in range(count)
    ]


class FaultyProvider(DelegatingProvider):
    """While `method` is set, calls of it have the fault instead of an effect."""

    def __init__(self, inner: Provider, fault: Fault, method: str | None = None) -> None:
        super().__init__(inner)
        self.fault = fault
        self.method = method
        self.failed: Counter[str] = Counter()
        self.calls = 0
        self._mended = asyncio.Event()

    def mend(self) -> None:
        """Work from now on; what hangs fails at last, as a broken connection does."""
        self.method = None
        self._mended.set()

    async def around(self, operation: str, call: ProviderCall[R]) -> R:
        self.calls += 1
        if operation != self.method:
            return await call()
        self.failed[operation] += 1
        await asyncio.sleep(0)
        match self.fault:
            case "is throttled":
                raise StorageUnavailable("throttled", operation=operation)
            case "fails for good":
                raise StorageFailed("the disk is full", operation=operation)
            case "hangs":
                await self._mended.wait()
                raise StorageUnavailable("the connection broke", operation=operation)
            case "is cancelled":
                raise asyncio.CancelledError
            case "has a bug":
                raise KeyError("row")
