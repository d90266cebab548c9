"""A provider that passes every call on: the base of wrappers (metrics, faults)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from perdure.contract.admin import ProviderAdmin
from perdure.contract.provider import Provider
from perdure.records.activities import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
)
from perdure.records.instances import InstanceState, Message, NewInstance
from perdure.records.queries import CancellationWait, ChangeWait, WorkWait
from perdure.records.turns import (
    CommitAnswer,
    HistoryPage,
    LeasedTurn,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)


class DelegatingProvider(Provider):
    """Passes every call to `inner`; a wrapper overrides what it wants to see or change.

    What the provider says of itself in attributes is passed on too, so that a wrapper which only
    measures a call changes nothing else.
    """

    def __init__(self, inner: Provider) -> None:
        super().__init__(clock=inner.clock, description=inner.description)
        self.inner = inner
        self.finish_limit = inner.finish_limit
        self.tells_of_work = inner.tells_of_work
        self.tells_of_changes = inner.tells_of_changes
        self.tells_of_cancellations = inner.tells_of_cancellations
        # A wrapper is opened and closed with what it wraps.
        self.home = inner.home
        # One notifier for both, so that a waiter on either is woken.
        self.notifier = inner.notifier

    async def create_instance(self, new: NewInstance) -> None:
        await self.inner.create_instance(new)

    async def send(self, messages: Sequence[Message]) -> None:
        await self.inner.send(messages)

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        return await self.inner.lease_turns(request)

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        return await self.inner.read_history(
            instance, execution, incarnation=incarnation, after=after
        )

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        return await self.inner.commit_turn(commit)

    async def release_turn(self, release: TurnRelease) -> None:
        await self.inner.release_turn(release)

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        return await self.inner.renew_turns(leases, lease_for=lease_for)

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        return await self.inner.lease_activities(request)

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self.inner.complete_activity(completion)

    async def release_activity(self, release: ActivityRelease) -> None:
        await self.inner.release_activity(release)

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        return await self.inner.renew_activities(leases, lease_for=lease_for)

    async def read_instance(self, instance: str) -> InstanceState | None:
        return await self.inner.read_instance(instance)

    async def wait_for_work(self, wait: WorkWait) -> None:
        await self.inner.wait_for_work(wait)

    async def wait_for_change(self, wait: ChangeWait) -> None:
        await self.inner.wait_for_change(wait)

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        return await self.inner.wait_for_cancellation(wait)

    def as_management_capability(self) -> ProviderAdmin | None:
        return self.inner.as_management_capability()
