"""The link between one runtime and its storage. A scenario can watch, disturb and cut it.

The link passes every call on. It counts the calls under way, so that the simulation knows when
nothing moves. A cut link stands for a process that died: later calls have no effect, and no answer
arrives. A disturbance may hold a call, lose its answer, or change what is stored.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

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
    Message,
    NewInstance,
    Provider,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
    WorkWait,
)
from perdure.errors import StorageFailed, StorageUnavailable

from perdure_conformance.scenarios.simulation_clocks import CURRENT_WAIT, Wait

T = TypeVar("T")

Disturbance = Callable[[str, object, Callable[[], Awaitable[object]]], Awaitable[object]]
"""Gets the operation, its first argument, and the call itself; returns the answer."""


class Link(DelegatingProvider):
    """See the module."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        """The number of calls by operation."""
        self.disturbance: Disturbance | None = None
        self.rewrite: Callable[[TurnCommit], TurnCommit] | None = None
        """Changes a commit before it is stored."""
        self._under_way = 0
        self._waits: set[Wait] = set()
        self._cut = False
        self._disposed = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether a call is under way in the storage."""
        return self._under_way > 0

    @property
    def looking(self) -> bool:
        """Whether a wait for work reads the storage, as far as the clock can tell."""
        return any(not wait.sleeps for wait in self._waits)

    def cut(self) -> None:
        """From now on no call has an effect or an answer."""
        self._cut = True

    def dispose(self) -> None:
        """End all calls that wait for an answer, with an error."""
        self._cut = True
        self._disposed.set()
        if isinstance(self.disturbance, Held):
            self.disturbance.let_through()

    async def _pass(self, operation: str, argument: object, call: Callable[[], Awaitable[T]]) -> T:
        self.calls[operation] += 1
        await self._stop_if_cut()
        try:
            if self.disturbance is None:
                return await self._watched(call)
            answer = await self.disturbance(operation, argument, lambda: self._watched(call))
            return cast("T", answer)
        finally:
            await self._stop_if_cut()

    async def _watched(self, call: Callable[[], Awaitable[T]]) -> T:
        await self._stop_if_cut()
        self._under_way += 1
        try:
            return await call()
        finally:
            self._under_way -= 1

    async def _stop_if_cut(self) -> None:
        if self._cut:
            await self._disposed.wait()
            raise StorageFailed("the process is gone", operation="any")

    async def create_instance(self, new: NewInstance) -> None:
        await self._pass("create_instance", new, lambda: self.inner.create_instance(new))

    async def send(self, messages: Sequence[Message]) -> None:
        await self._pass("send", messages, lambda: self.inner.send(messages))

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        return await self._pass("lease_turns", request, lambda: self.inner.lease_turns(request))

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        return await self._pass(
            "read_history",
            instance,
            lambda: self.inner.read_history(
                instance, execution, incarnation=incarnation, after=after
            ),
        )

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        written = commit if self.rewrite is None else self.rewrite(commit)
        return await self._pass("commit_turn", commit, lambda: self.inner.commit_turn(written))

    async def release_turn(self, release: TurnRelease) -> None:
        await self._pass("release_turn", release, lambda: self.inner.release_turn(release))

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        return await self._pass(
            "renew_turns", leases, lambda: self.inner.renew_turns(leases, lease_for=lease_for)
        )

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        return await self._pass(
            "lease_activities", request, lambda: self.inner.lease_activities(request)
        )

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._pass(
            "complete_activity", completion, lambda: self.inner.complete_activity(completion)
        )

    async def release_activity(self, release: ActivityRelease) -> None:
        await self._pass("release_activity", release, lambda: self.inner.release_activity(release))

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        return await self._pass(
            "renew_activities",
            leases,
            lambda: self.inner.renew_activities(leases, lease_for=lease_for),
        )

    async def wait_for_work(self, wait: WorkWait) -> None:
        await self._stop_if_cut()
        with self._waiting():
            await self.inner.wait_for_work(wait)

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        await self._stop_if_cut()
        with self._waiting():
            gone = await self.inner.wait_for_cancellation(wait)
        if isinstance(self.disturbance, Held):
            await self.disturbance.silence("wait_for_cancellation")
        await self._stop_if_cut()
        return gone

    @contextmanager
    def _waiting(self) -> Generator[None]:
        mark = Wait()
        self._waits.add(mark)
        token = CURRENT_WAIT.set(mark)
        try:
            yield
        finally:
            CURRENT_WAIT.reset(token)
            self._waits.discard(mark)

    async def read_instance(self, instance: str) -> InstanceState | None:
        return await self._pass(
            "read_instance", instance, lambda: self.inner.read_instance(instance)
        )


def losing_answers(operation: str, times: int = 1) -> Disturbance:
    """A disturbance that makes the call and loses its answer, this many times."""
    left = times

    async def disturb(asked: str, _: object, call: Callable[[], Awaitable[object]]) -> object:
        nonlocal left
        answer = await call()
        if asked == operation and left:
            left -= 1
            raise StorageUnavailable("the answer was lost", operation=operation)
        return answer

    return disturb


class Held:
    """A disturbance that holds calls until it lets them through: before they are made, or after."""

    def __init__(
        self,
        chosen: Callable[[str, object], bool],
        *,
        after: bool = False,
        silenced: frozenset[str] = frozenset(),
    ) -> None:
        self._chosen = chosen
        self._after = after
        self.silenced = silenced
        """Operations whose calls are all held."""
        self._open = asyncio.Event()
        self.caught = 0
        """The number of held calls so far."""

    def let_through(self) -> None:
        """Let the held calls go on, and hold no more."""
        self._open.set()

    async def __call__(
        self, operation: str, argument: object, call: Callable[[], Awaitable[object]]
    ) -> object:
        await self.silence(operation)
        held = not self._open.is_set() and self._chosen(operation, argument)
        if held and not self._after:
            await self._hold()
        answer = await call()
        if held and self._after:
            await self._hold()
        return answer

    async def silence(self, operation: str) -> None:
        """Hold the caller where the operation is silenced."""
        if operation in self.silenced and not self._open.is_set():
            await self._open.wait()

    async def _hold(self) -> None:
        self.caught += 1
        await self._open.wait()
