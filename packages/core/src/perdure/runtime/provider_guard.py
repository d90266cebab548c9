"""The provider as the runtime sees it: a call fails as a `ProviderError`, and a loop's call ends.

Whatever a provider does, one call must not end a loop of the runtime or keep it for ever:

- An error that the contract doesn't know, and a cancellation from inside the provider, become
  `ProviderError`s, which every caller handles.
- A call that serves many instances at once (a lease call, a renewal, a wait) and doesn't return
  within its limit is cancelled and fails as `StorageUnavailable`. A call that serves one instance
  may take any time: a slow storage must not cost a result that is there.

The guard tells `StorageHealth` what became of each call.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import CoroutineType
from typing import Any, TypeVar

from perdure.contract.delegate import DelegatingProvider
from perdure.contract.provider import Provider
from perdure.contract.transactions import OpenTransaction
from perdure.errors import (
    ExecutionNotFound,
    InstanceNotFound,
    ProviderError,
    StorageClosed,
    StorageFailed,
    StorageUnavailable,
)
from perdure.records.activities import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
)
from perdure.records.instances import InstanceState
from perdure.records.queries import CancellationWait, WorkWait
from perdure.records.turns import (
    CommitAnswer,
    HistoryPage,
    LeasedTurn,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.runtime.health import StorageHealth

T = TypeVar("T")

_INTERVAL = timedelta(seconds=5)
"""How often the guard looks for calls that are over their limit."""
_WAIT_LIMIT = timedelta(seconds=5)
"""How long after its timeout a wait may still return."""


_ANSWERS = {"read_history": (InstanceNotFound, ExecutionNotFound)}
"""The answers that the runtime's calls may have besides failures of the storage."""


@dataclass(slots=True, eq=False, repr=False)
class _Call:
    """A call with a limit."""

    operation: str
    rounds: int
    """How many more looks it may last."""
    is_over: bool = False
    is_taken_back: bool = False
    """Whether the cancellation that ended it was taken back."""


class GuardedProvider(DelegatingProvider):
    """See the module."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.health = StorageHealth(inner.clock)
        self._limited: dict[asyncio.Task[object], _Call] = {}

    async def end_hanging_calls(self) -> None:
        """Cancel calls that are over their limit, for as long as the runtime runs.

        Time is counted in looks: while the process stood still, the storage could not answer.
        """
        while True:
            await self.clock.sleep(_INTERVAL)
            for task, call in tuple(self._limited.items()):
                call.rounds -= 1
                if call.rounds < 0 and not call.is_over:
                    call.is_over = True
                    task.cancel()

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        return await self._within(
            request.lease_for, "lease_turns", lambda: self.inner.lease_turns(request)
        )

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        return await self._guarded(
            "read_history",
            self.inner.read_history(instance, execution, incarnation=incarnation, after=after),
        )

    def commit_turn(self, commit: TurnCommit) -> CoroutineType[Any, Any, CommitAnswer]:
        # Not a coroutine around another: every turn is committed.
        return self._guarded("commit_turn", self.inner.commit_turn(commit))

    async def release_turn(self, release: TurnRelease) -> None:
        await self._guarded("release_turn", self.inner.release_turn(release))

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        return await self._within(
            lease_for / 3,
            "renew_turns",
            lambda: self.inner.renew_turns(leases, lease_for=lease_for),
        )

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        return await self._within(
            request.lease_for, "lease_activities", lambda: self.inner.lease_activities(request)
        )

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._guarded("complete_activity", self.inner.complete_activity(completion))

    async def begin_transaction(self, *, blocking: bool) -> OpenTransaction:
        return await self._guarded(
            "begin_transaction", self.inner.begin_transaction(blocking=blocking)
        )

    async def complete_in_transaction(
        self, transaction: OpenTransaction, completion: ActivityCompletion
    ) -> None:
        await self._guarded(
            "complete_in_transaction",
            self.inner.complete_in_transaction(transaction, completion),
        )

    async def roll_back(self, transaction: OpenTransaction, *, in_use: bool = False) -> None:
        await self._guarded("roll_back", self.inner.roll_back(transaction, in_use=in_use))

    async def release_activity(self, release: ActivityRelease) -> None:
        await self._guarded("release_activity", self.inner.release_activity(release))

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        return await self._within(
            lease_for / 3,
            "renew_activities",
            lambda: self.inner.renew_activities(leases, lease_for=lease_for),
        )

    async def read_instance(self, instance: str) -> InstanceState | None:
        self._refuse_if_closed("read_instance")
        return await self._guarded("read_instance", self.inner.read_instance(instance))

    async def wait_for_work(self, wait: WorkWait) -> None:
        await self._within(
            wait.timeout + _WAIT_LIMIT, "wait_for_work", lambda: self.inner.wait_for_work(wait)
        )

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        return await self._within(
            wait.timeout + _WAIT_LIMIT,
            "wait_for_cancellation",
            lambda: self.inner.wait_for_cancellation(wait),
        )

    def _refuse_if_closed(self, operation: str) -> None:
        if self.event_loop.is_closed:
            raise StorageClosed(
                f"the provider of {self.description} is closed; open it again",
                operation=operation,
            )

    async def _within(
        self, limit: timedelta, operation: str, call: Callable[[], Awaitable[T]]
    ) -> T:
        self._refuse_if_closed(operation)
        task = asyncio.current_task()
        if task is None:
            raise AssertionError("a call of the runtime is made in a task")
        answer = call()
        limited = self._limited[task] = _Call(operation, math.ceil(limit / _INTERVAL))
        try:
            return await self._guarded(operation, answer)
        except asyncio.CancelledError:
            # Something else may have cancelled the task too; then it is cancelled.
            if self._take_back(limited, task) and not task.cancelling():
                raise self._failure(
                    StorageUnavailable(
                        f"{self.description} did not answer {operation} within {limit}; it is"
                        " asked again",
                        operation=operation,
                    )
                ) from None
            raise
        finally:
            self._take_back(limited, task)
            del self._limited[task]

    def _take_back(self, limited: _Call, task: asyncio.Task[Any]) -> bool:
        """Take back the cancellation of a call that was over its limit, however the call ended.

        Some drivers return, or raise something else, when they are cancelled.
        """
        if limited.is_over and not limited.is_taken_back:
            limited.is_taken_back = True
            task.uncancel()
        return limited.is_over

    async def _guarded(self, operation: str, answer: Awaitable[T]) -> T:
        try:
            result = await answer
        except ProviderError as error:
            self.health.failed(operation, error)
            raise
        except _ANSWERS.get(operation, ()):
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self._failure(
                StorageUnavailable(
                    f"the provider cancelled {operation} by itself", operation=operation
                )
            ) from error
        except Exception as error:
            raise self._failure(
                StorageFailed(
                    f"the provider raised {type(error).__name__} in {operation}, which the"
                    f" contract does not know: {error}",
                    operation=operation,
                )
            ) from error
        self.health.succeeded(operation)
        return result

    def _failure(self, error: ProviderError) -> ProviderError:
        self.health.failed(error.operation or "", error)
        return error
