"""Activities that write in a transaction which their result belongs to.

The function is called with the connection of an open transaction. If it returns, the runtime commits
what it wrote together with its result, on condition that the lease stands. In every other case (it
raises, its time is over, it is cancelled, its lease is lost, the process ends) nothing of what it
wrote stays. So what it wrote is there exactly if its result is.
"""

from __future__ import annotations

import logging

from perdure.authoring.catalog import Catalog
from perdure.contract.provider import Provider
from perdure.contract.retries import PATIENT_TRIES, with_retries
from perdure.contract.transactions import OpenTransaction
from perdure.contract.waiting import to_its_end
from perdure.errors import CapabilityMissing, ProviderError
from perdure.records.limits import TRANSACTIONS
from perdure.runtime.activity_leases import HeldActivity
from perdure.runtime.activity_log import activity_fields

_LOGGER = logging.getLogger("perdure.runtime")


def refuse_transactional(catalog: Catalog, provider: Provider) -> None:
    """Raise `CapabilityMissing` if an activity is transactional and the provider is not."""
    if TRANSACTIONS in provider.capabilities:
        return
    for definition in catalog.activities.values():
        if definition.transactional:
            raise CapabilityMissing(
                TRANSACTIONS,
                provider.description,
                what=f"the transaction of activity {definition.name!r} at {definition.where} is",
            )


class ActivityTransactions:
    """Begins the transactions of activities, and rolls back those that are not committed."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def begin(self, held: HeldActivity, *, blocking: bool) -> OpenTransaction | None:
        """A transaction; None if the storage gives none, so that the activity runs later."""
        try:
            return await with_retries(
                self._provider.clock,
                lambda: self._provider.begin_transaction(blocking=blocking),
                tries=PATIENT_TRIES,
            )
        except ProviderError as error:
            _LOGGER.warning(
                "activity %s of instance %r got no transaction, and runs later: %s",
                held.id,
                held.instance,
                error,
                extra=activity_fields(held),
            )
            return None

    async def roll_back(self, transaction: OpenTransaction, *, in_use: bool) -> None:
        """End a transaction, unless it was committed; a cancellation comes after the end."""
        await to_its_end(self._end(transaction, in_use=in_use))

    async def _end(self, transaction: OpenTransaction, *, in_use: bool) -> None:
        try:
            await self._provider.roll_back(transaction, in_use=in_use)
        except ProviderError as error:
            # Without its connection the storage rolls it back by itself.
            _LOGGER.warning("a transaction was not rolled back in order: %s", error)
