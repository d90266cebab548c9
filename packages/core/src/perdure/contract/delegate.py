"""A provider that passes every call on: the base of wrappers for metrics, faults and logs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Generic, TypeVar

from perdure.clock import Instant
from perdure.contract.admin import ProviderAdmin
from perdure.contract.provider import Provider
from perdure.contract.transactions import OpenTransaction
from perdure.model.record import record
from perdure.records.activities import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
)
from perdure.records.instances import InstanceState, Message, NewInstance
from perdure.records.queries import CancellationWait, ChangeWait, InstanceValues, WorkWait
from perdure.records.recovery import InstanceReopening, InstanceTermination
from perdure.records.turns import (
    CommitAnswer,
    HistoryPage,
    LeasedTurn,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)

R = TypeVar("R")


@record(kw_only=False)
class ProviderCall(Generic[R]):
    """A call of a wrapped provider that has not been made yet; calling the object makes it.

    It may be made several times, since every call of a provider is safe to repeat.
    """

    argument: object
    """The first argument of the method: a request, a commit, a sequence of leases, an instance id."""
    make: Callable[[], Awaitable[R]]
    """Makes the call."""

    def __call__(self) -> Awaitable[R]:
        """Make the call; await the result."""
        return self.make()


class DelegatingProvider(Provider):
    """Passes every call to `inner`, through `around`.

    Override `around` to measure, log, delay, repeat or fail calls of any method; override a method
    to change what that method passes on or returns. The attributes of `inner` are passed on too:
    its clock, its notifier, `capabilities`, `finish_limit`, and what it tells of (`tells_of_work`,
    `tells_of_changes`, `tells_of_cancellations`). A wrapper that only measures calls therefore
    changes nothing else, and waits stay as prompt as without it. A wrapper that takes away such a
    promise sets the attribute to False.

    A wrapper is opened and closed together with the provider that it wraps.
    """

    def __init__(self, inner: Provider) -> None:
        super().__init__(clock=inner.clock, description=inner.description)
        self.inner = inner
        """The wrapped provider."""
        self.capabilities = inner.capabilities
        self.finish_limit = inner.finish_limit
        self.tells_of_work = inner.tells_of_work
        self.tells_of_changes = inner.tells_of_changes
        self.tells_of_cancellations = inner.tells_of_cancellations
        self.event_loop = inner.event_loop
        # One notifier for both, so that a notification of either wakes the subscribers of both.
        self.notifier = inner.notifier

    def read_usage(self) -> Mapping[str, float]:
        return self.inner.read_usage()

    async def around(self, operation: str, call: ProviderCall[R]) -> R:
        """Make one call of the wrapped provider; returns its result and raises its errors.

        `operation` is the name of the method. Every coroutine method passes through here once,
        waits included: those last as long as their timeout if nothing happens. An override must
        let a cancellation pass, and must raise nothing but the errors of the method.
        """
        del operation
        return await call()

    async def create_instance(self, new: NewInstance) -> None:
        await self.around(
            "create_instance", ProviderCall(new, lambda: self.inner.create_instance(new))
        )

    async def send(self, messages: Sequence[Message]) -> None:
        await self.around("send", ProviderCall(messages, lambda: self.inner.send(messages)))

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        return await self.around(
            "lease_turns", ProviderCall(request, lambda: self.inner.lease_turns(request))
        )

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        return await self.around(
            "read_history",
            ProviderCall(
                instance,
                lambda: self.inner.read_history(
                    instance, execution, incarnation=incarnation, after=after
                ),
            ),
        )

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        return await self.around(
            "commit_turn", ProviderCall(commit, lambda: self.inner.commit_turn(commit))
        )

    async def release_turn(self, release: TurnRelease) -> None:
        await self.around(
            "release_turn", ProviderCall(release, lambda: self.inner.release_turn(release))
        )

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        return await self.around(
            "renew_turns",
            ProviderCall(leases, lambda: self.inner.renew_turns(leases, lease_for=lease_for)),
        )

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        return await self.around(
            "lease_activities",
            ProviderCall(request, lambda: self.inner.lease_activities(request)),
        )

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self.around(
            "complete_activity",
            ProviderCall(completion, lambda: self.inner.complete_activity(completion)),
        )

    async def release_activity(self, release: ActivityRelease) -> None:
        await self.around(
            "release_activity",
            ProviderCall(release, lambda: self.inner.release_activity(release)),
        )

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        return await self.around(
            "renew_activities",
            ProviderCall(leases, lambda: self.inner.renew_activities(leases, lease_for=lease_for)),
        )

    async def read_instance(self, instance: str) -> InstanceState | None:
        return await self.around(
            "read_instance", ProviderCall(instance, lambda: self.inner.read_instance(instance))
        )

    async def reopen_instance(self, reopening: InstanceReopening) -> None:
        await self.around(
            "reopen_instance",
            ProviderCall(reopening, lambda: self.inner.reopen_instance(reopening)),
        )

    async def terminate_instance(self, termination: InstanceTermination) -> bool:
        return await self.around(
            "terminate_instance",
            ProviderCall(termination, lambda: self.inner.terminate_instance(termination)),
        )

    async def delete_instance(self, instance: str, *, incarnation: str) -> bool:
        return await self.around(
            "delete_instance",
            ProviderCall(
                instance, lambda: self.inner.delete_instance(instance, incarnation=incarnation)
            ),
        )

    async def prune_executions(self, instance: str, *, incarnation: str, before: int) -> int:
        return await self.around(
            "prune_executions",
            ProviderCall(
                instance,
                lambda: self.inner.prune_executions(
                    instance, incarnation=incarnation, before=before
                ),
            ),
        )

    async def delete_early_events(
        self, instance: str | None, *, arrived_before: Instant | None = None, limit: int
    ) -> int:
        return await self.around(
            "delete_early_events",
            ProviderCall(
                instance,
                lambda: self.inner.delete_early_events(
                    instance, arrived_before=arrived_before, limit=limit
                ),
            ),
        )

    async def delete_namespace(self) -> None:
        await self.around(
            "delete_namespace", ProviderCall(None, lambda: self.inner.delete_namespace())
        )

    async def read_values(
        self, instance: str, *, keys: frozenset[str] | None = None
    ) -> InstanceValues | None:
        return await self.around(
            "read_values",
            ProviderCall(instance, lambda: self.inner.read_values(instance, keys=keys)),
        )

    async def begin_transaction(self, *, blocking: bool) -> OpenTransaction:
        return await self.around(
            "begin_transaction",
            ProviderCall(None, lambda: self.inner.begin_transaction(blocking=blocking)),
        )

    async def complete_in_transaction(
        self, transaction: OpenTransaction, completion: ActivityCompletion
    ) -> None:
        await self.around(
            "complete_in_transaction",
            ProviderCall(
                transaction, lambda: self.inner.complete_in_transaction(transaction, completion)
            ),
        )

    async def roll_back(self, transaction: OpenTransaction, *, in_use: bool = False) -> None:
        await self.around(
            "roll_back",
            ProviderCall(transaction, lambda: self.inner.roll_back(transaction, in_use=in_use)),
        )

    async def wait_for_work(self, wait: WorkWait) -> None:
        await self.around(
            "wait_for_work", ProviderCall(wait, lambda: self.inner.wait_for_work(wait))
        )

    async def wait_for_change(self, wait: ChangeWait) -> InstanceState | None:
        return await self.around(
            "wait_for_change", ProviderCall(wait, lambda: self.inner.wait_for_change(wait))
        )

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        return await self.around(
            "wait_for_cancellation",
            ProviderCall(wait, lambda: self.inner.wait_for_cancellation(wait)),
        )

    def as_management_capability(self) -> ProviderAdmin | None:
        """The management capability of the wrapped provider; its calls don't pass `around`."""
        return self.inner.as_management_capability()
