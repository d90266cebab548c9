"""The contract's methods: each sets the time of the store, and makes one call of it.

No call awaits anything, so the calls of one event loop never interleave, and a cancelled call has
happened or has not begun. Waiting uses the polling defaults of `Provider`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from perdure.clock import Clock
from perdure.contract import (
    DELETION,
    LISTING,
    RECOVERY,
    TRANSACTIONS,
    VALUES,
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CommitAnswer,
    HistoryPage,
    InstanceReopening,
    InstanceState,
    InstanceTermination,
    InstanceValues,
    Instant,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewInstance,
    OpenTransaction,
    Provider,
    ProviderAdmin,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
    check_commit,
    check_delay,
    check_lease,
    check_limit,
    check_reopening,
)

from perdure_conformance.model.listing import ModelAdmin
from perdure_conformance.model.store import Store


class ModelProvider(Provider):
    """A provider over a store, which any number of provider objects may share."""

    capabilities = frozenset({RECOVERY, DELETION, VALUES, LISTING, TRANSACTIONS})

    def __init__(self, store: Store, *, clock: Clock, description: str) -> None:
        super().__init__(clock=clock, description=description)
        self._store = store

    def at_present(self) -> Store:
        """The store, with its time set."""
        self._store.now = self.clock.now()
        return self._store

    async def create_instance(self, new: NewInstance) -> None:
        self.at_present().create_instance(new)

    async def send(self, messages: Sequence[Message]) -> None:
        store = self.at_present()
        for message in messages:
            store.put(message)

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        check_lease("lease_for", request.lease_for)
        check_limit(request.limit)
        return self.at_present().lease_turns(request)

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        return self.at_present().read_history(instance, execution, incarnation, after)

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        check_commit(commit, finish_limit=self.finish_limit)
        return self.at_present().commit_turn(commit)

    async def release_turn(self, release: TurnRelease) -> None:
        check_delay(release.delay)
        self.at_present().release_turn(release)

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        check_lease("lease_for", lease_for)
        return self.at_present().renew_turns(leases, lease_for)

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        check_lease("lease_for", request.lease_for)
        check_limit(request.limit)
        return self.at_present().lease_activities(request)

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        self.at_present().complete_activity(completion)

    async def begin_transaction(self, *, blocking: bool) -> OpenTransaction:
        written: list[str] = []
        return OpenTransaction(written)

    async def complete_in_transaction(
        self, transaction: OpenTransaction, completion: ActivityCompletion
    ) -> None:
        self.at_present().complete_activity(completion)
        self.commit_effects(transaction)

    def commit_effects(self, transaction: OpenTransaction) -> None:
        """Keep what was written in the transaction."""
        self._store.tables.effects.extend(cast("list[str]", transaction.connection))

    async def roll_back(self, transaction: OpenTransaction, *, in_use: bool = False) -> None:
        return

    async def release_activity(self, release: ActivityRelease) -> None:
        check_delay(release.delay)
        self.at_present().release_activity(release)

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        check_lease("lease_for", lease_for)
        return self.at_present().renew_activities(leases, lease_for)

    async def read_instance(self, instance: str) -> InstanceState | None:
        return self.at_present().read_instance(instance)

    async def reopen_instance(self, reopening: InstanceReopening) -> None:
        check_reopening(reopening)
        self.at_present().reopen_instance(reopening)

    async def terminate_instance(self, termination: InstanceTermination) -> bool:
        return self.at_present().terminate_instance(termination)

    async def delete_instance(self, instance: str, *, incarnation: str) -> bool:
        return self.at_present().delete_instance(instance, incarnation)

    async def prune_executions(self, instance: str, *, incarnation: str, before: int) -> int:
        return self.at_present().prune_executions(instance, incarnation, before)

    async def delete_early_events(
        self, instance: str | None, *, arrived_before: Instant | None = None, limit: int
    ) -> int:
        check_limit(limit)
        return self.at_present().delete_early_events(instance, arrived_before, limit)

    async def delete_namespace(self) -> None:
        self.at_present().delete_namespace()

    async def read_values(
        self, instance: str, *, keys: frozenset[str] | None = None
    ) -> InstanceValues | None:
        return self.at_present().read_values(instance, keys)

    def as_management_capability(self) -> ProviderAdmin | None:
        return ModelAdmin(self.at_present)
