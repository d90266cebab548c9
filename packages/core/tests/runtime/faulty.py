"""A provider whose methods fail in every way that a storage, or a driver, can."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Literal, TypeVar

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CancellationWait,
    CommitAnswer,
    DelegatingProvider,
    HistoryPage,
    InstanceState,
    LeasedActivity,
    LeasedTurn,
    Provider,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
    WorkWait,
)
from perdure.errors import StorageFailed, StorageUnavailable

T = TypeVar("T")

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

    async def _pass(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
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

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        return await self._pass("lease_turns", lambda: self.inner.lease_turns(request))

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        return await self._pass(
            "read_history",
            lambda: self.inner.read_history(
                instance, execution, incarnation=incarnation, after=after
            ),
        )

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        return await self._pass("commit_turn", lambda: self.inner.commit_turn(commit))

    async def release_turn(self, release: TurnRelease) -> None:
        await self._pass("release_turn", lambda: self.inner.release_turn(release))

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        return await self._pass(
            "renew_turns", lambda: self.inner.renew_turns(leases, lease_for=lease_for)
        )

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        return await self._pass("lease_activities", lambda: self.inner.lease_activities(request))

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._pass("complete_activity", lambda: self.inner.complete_activity(completion))

    async def release_activity(self, release: ActivityRelease) -> None:
        await self._pass("release_activity", lambda: self.inner.release_activity(release))

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        return await self._pass(
            "renew_activities", lambda: self.inner.renew_activities(leases, lease_for=lease_for)
        )

    async def read_instance(self, instance: str) -> InstanceState | None:
        return await self._pass("read_instance", lambda: self.inner.read_instance(instance))

    async def wait_for_work(self, wait: WorkWait) -> None:
        await self._pass("wait_for_work", lambda: self.inner.wait_for_work(wait))

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        return await self._pass(
            "wait_for_cancellation", lambda: self.inner.wait_for_cancellation(wait)
        )
