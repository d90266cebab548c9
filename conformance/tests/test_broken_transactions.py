"""Providers whose completions and what was written in their transactions come apart."""

import asyncio

from perdure.contract import OpenTransaction
from perdure.errors import ActivityLeaseLost
from perdure_conformance.broken_providers import breaks, what_catches
from perdure_conformance.clauses import CLAUSES
from perdure_conformance.model import ModelProvider


@breaks("TRANSACT-1", "TRANSACT-3")
class WritesOutsideTheTransaction(ModelProvider):
    async def begin_transaction(self, *, blocking):
        return OpenTransaction(self._store.tables.effects)

    def commit_effects(self, transaction):
        pass


@breaks("TRANSACT-1")
class WritesOutsideTheTransactionInThreads(ModelProvider):
    async def begin_transaction(self, *, blocking):
        return OpenTransaction(self._store.tables.effects if blocking else [])

    def commit_effects(self, transaction):
        if transaction.connection is not self._store.tables.effects:
            super().commit_effects(transaction)


@breaks("TRANSACT-1")
class DoesNotCommit(ModelProvider):
    def commit_effects(self, transaction):
        pass


@breaks("TRANSACT-1")
class CommitsTwice(ModelProvider):
    async def roll_back(self, transaction, *, in_use=False):
        self.commit_effects(transaction)


@breaks("TRANSACT-1")
class CommitsWithoutTheCompletion(ModelProvider):
    async def complete_in_transaction(self, transaction, completion):
        self.commit_effects(transaction)


@breaks("TRANSACT-2")
class CompletesOnAnotherConnection(ModelProvider):
    """Whether the lease stands is found out when the transaction is committed already."""

    async def complete_in_transaction(self, transaction, completion):
        self.commit_effects(transaction)
        self.at_present().complete_activity(completion)


@breaks("TRANSACT-2")
class CommitsAlthoughTheLeaseIsLost(ModelProvider):
    async def complete_in_transaction(self, transaction, completion):
        try:
            self.at_present().complete_activity(completion)
        except ActivityLeaseLost:
            if completion.lease.activity == "released":
                self.commit_effects(transaction)
            raise
        self.commit_effects(transaction)


@breaks("TRANSACT-2")
class CommitsWhatWasCancelled(ModelProvider):
    async def complete_in_transaction(self, transaction, completion):
        lease = completion.lease
        if (lease.instance, lease.activity) in self._store.tables.activities:
            self.at_present().complete_activity(completion)
        self.commit_effects(transaction)


@breaks("TRANSACT-2")
class RefusesAnExpiredLease(ModelProvider):
    async def complete_in_transaction(self, transaction, completion):
        lease = completion.lease
        row = self.at_present().leased_row(lease)
        if row is not None and row.lease.until <= self.clock.now():
            raise ActivityLeaseLost(lease.instance, [lease.activity], operation="complete")
        await super().complete_in_transaction(transaction, completion)


@breaks("TRANSACT-2")
class EndsTheTransactionAtARefusal(ModelProvider):
    async def complete_in_transaction(self, transaction, completion):
        try:
            self.at_present().complete_activity(completion)
        except ActivityLeaseLost:
            transaction.connection.clear()
            raise
        self.commit_effects(transaction)


@breaks("TRANSACT-3")
class KeepsWhatAThreadWrote(ModelProvider):
    async def roll_back(self, transaction, *, in_use=False):
        if in_use:
            self.commit_effects(transaction)


@breaks("TRANSACT-3")
class ReleasesTheLeaseAtARollback(ModelProvider):
    async def roll_back(self, transaction, *, in_use=False):
        for row in self._store.tables.activities.values():
            row.lease = None


@breaks("TRANSACT-4")
class CommitsTheTransactionLate(ModelProvider):
    async def complete_in_transaction(self, transaction, completion):
        self.at_present().complete_activity(completion)
        await asyncio.sleep(0)
        self.commit_effects(transaction)


@breaks("TRANSACT-4")
class CompletesLate(ModelProvider):
    async def complete_in_transaction(self, transaction, completion):
        if self._store.leased_row(completion.lease) is None:
            lease = completion.lease
            raise ActivityLeaseLost(lease.instance, [lease.activity], operation="complete")
        self.commit_effects(transaction)
        await asyncio.sleep(0)
        self.at_present().complete_activity(completion)


def test_a_broken_provider_is_caught(broken, clause):
    (check,) = (check for check in CLAUSES if check.id == clause)

    assert what_catches(broken, check) is not None
