"""Faults between a runtime and its storage: a plugin that makes any provider unreliable.

    faults = Faults(rate=0.1, seed=1)
    async with open_provider("sqlite:///x.db", plugins=[faults]) as provider: ...

The contract allows every one of these faults, and each instance must end correctly under all of them.
The same seed and the same order of calls give the same faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import TypeVar

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CancellationWait,
    ChangeWait,
    CommitAnswer,
    DelegatingProvider,
    HistoryPage,
    InstanceState,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewInstance,
    Provider,
    ProviderSpec,
    ProviderWrapper,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
    WorkWait,
    hookimpl,
)
from perdure.errors import StorageFailed, StorageUnavailable

T = TypeVar("T")


class Fault(StrEnum):
    """A fault of a call."""

    BEFORE = "before"
    """Unavailable, without effect."""
    LOST_ANSWER = "lost answer"
    """Unavailable, after the effect."""
    REFUSED = "refused"
    """Failed permanently, without effect. Not among the usual faults, since no runtime can go on."""
    DELAY = "delay"
    """Slow, on the clock."""
    TWICE = "twice"
    """Made twice, as on a network that repeats requests; the caller gets the second answer."""
    LEASE_LOSS = "lease loss"
    """The leases that the call names are gone when it arrives."""


USUAL = (Fault.BEFORE, Fault.LOST_ANSWER, Fault.DELAY, Fault.TWICE, Fault.LEASE_LOSS)
"""The faults that a runtime must survive."""


class Faults:
    """The plugin: chooses a fault, or none, for each call."""

    def __init__(
        self,
        *,
        rate: float = 0.1,
        seed: int = 0,
        faults: Sequence[Fault] = USUAL,
        operations: frozenset[str] | None = None,
        delay: timedelta = timedelta(milliseconds=20),
    ) -> None:
        self.rate = rate
        """The probability of a fault at each call; may be changed at any time."""
        self.delay = delay
        self.injected: Counter[tuple[str, Fault]] = Counter()
        """The number of faults by operation and fault."""
        self._faults = tuple(faults)
        self._operations = operations
        self._random = Random(seed)  # noqa: S311 # repeatable, no secret

    @hookimpl
    def perdure_wrap_provider(self, spec: ProviderSpec) -> ProviderWrapper:
        """Wrap the provider that is being opened."""
        del spec
        return self.wrap

    def wrap(self, provider: Provider) -> Provider:
        """This provider, with faults."""
        return FaultyProvider(provider, self)

    def choose(self, operation: str) -> Fault | None:
        """The fault of the next call, or None."""
        if self._operations is not None and operation not in self._operations:
            return None
        if self._random.random() >= self.rate:
            return None
        fault = self._random.choice(self._faults)
        self.injected[operation, fault] += 1
        return fault


class FaultyProvider(DelegatingProvider):
    """Passes calls on, with faults."""

    def __init__(self, inner: Provider, faults: Faults) -> None:
        super().__init__(inner)
        self._faults = faults

    async def _call(
        self,
        operation: str,
        call: Callable[[], Awaitable[T]],
        lose_leases: Callable[[], Awaitable[None]] | None = None,
    ) -> T:
        match self._faults.choose(operation):
            case Fault.BEFORE:
                raise StorageUnavailable(
                    f"{operation} was not carried out: an injected fault; repeat it",
                    operation=operation,
                )
            case Fault.LOST_ANSWER:
                await call()
                raise StorageUnavailable(
                    f"the answer of {operation} was lost: an injected fault; repeat it",
                    operation=operation,
                )
            case Fault.REFUSED:
                raise StorageFailed(
                    f"{operation} was refused: an injected fault; look at what injects it",
                    operation=operation,
                )
            case Fault.DELAY:
                await self.clock.sleep(self._faults.delay)
            case Fault.TWICE:
                await call()
            case Fault.LEASE_LOSS:
                if lose_leases is not None:
                    await lose_leases()
            case None:
                pass
        return await call()

    async def _lose_turns(self, leases: Sequence[TurnLease]) -> None:
        for lease in leases:
            await self.inner.release_turn(TurnRelease(lease=lease))

    async def _lose_activities(self, leases: Sequence[ActivityLease]) -> None:
        for lease in leases:
            await self.inner.release_activity(ActivityRelease(lease=lease))

    async def create_instance(self, new: NewInstance) -> None:
        await self._call("create_instance", lambda: self.inner.create_instance(new))

    async def send(self, messages: Sequence[Message]) -> None:
        await self._call("send", lambda: self.inner.send(messages))

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        return await self._call("lease_turns", lambda: self.inner.lease_turns(request))

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        return await self._call(
            "read_history",
            lambda: self.inner.read_history(
                instance, execution, incarnation=incarnation, after=after
            ),
        )

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        async def lose_leases() -> None:
            await self._lose_activities(commit.finish)
            lease = TurnLease(instance=commit.instance, token=commit.token)
            await self._lose_turns([lease])

        return await self._call("commit_turn", lambda: self.inner.commit_turn(commit), lose_leases)

    async def release_turn(self, release: TurnRelease) -> None:
        await self._call("release_turn", lambda: self.inner.release_turn(release))

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        return await self._call(
            "renew_turns",
            lambda: self.inner.renew_turns(leases, lease_for=lease_for),
            lambda: self._lose_turns(leases),
        )

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        return await self._call("lease_activities", lambda: self.inner.lease_activities(request))

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._call(
            "complete_activity",
            lambda: self.inner.complete_activity(completion),
            lambda: self._lose_activities([completion.lease]),
        )

    async def release_activity(self, release: ActivityRelease) -> None:
        await self._call("release_activity", lambda: self.inner.release_activity(release))

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        return await self._call(
            "renew_activities",
            lambda: self.inner.renew_activities(leases, lease_for=lease_for),
            lambda: self._lose_activities(leases),
        )

    async def read_instance(self, instance: str) -> InstanceState | None:
        return await self._call("read_instance", lambda: self.inner.read_instance(instance))

    async def wait_for_work(self, wait: WorkWait) -> None:
        await self._call("wait_for_work", lambda: self.inner.wait_for_work(wait))

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        return await self._call(
            "wait_for_cancellation", lambda: self.inner.wait_for_cancellation(wait)
        )

    async def wait_for_change(self, wait: ChangeWait) -> None:
        await self._call("wait_for_change", lambda: self.inner.wait_for_change(wait))
