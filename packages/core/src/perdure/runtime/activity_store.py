"""How the lease of an activity ends in the store: its result stored, given back, parked.

A result whose lease is gone is dropped: another delivery of the activity counts (ACT-8). Every
way back is uncounted, because no process has ended under the lease (ACT-11, ACT-23).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from perdure.contract.provider import Provider
from perdure.contract.retries import PATIENT_TRIES, with_retries
from perdure.contract.transactions import OpenTransaction
from perdure.errors import ActivityLeaseLost, ProviderError, StorageClosed, TransactionRefused
from perdure.model.message_ids import activity_result_id, activity_start_id
from perdure.model.wire import ResultData, encode_result
from perdure.records.activities import ActivityCompletion, ActivityLease, ActivityRelease
from perdure.records.instances import Message, MessageKind, ParkedMark
from perdure.runtime.activity_leases import HeldActivity
from perdure.runtime.activity_log import activity_fields
from perdure.runtime.clock_skew import ClockSkew
from perdure.runtime.parking import ParkedInstances

_LOGGER = logging.getLogger("perdure.runtime")
_PARKED_FOR = timedelta(seconds=30)
_BETWEEN_STORES = timedelta(seconds=5)
"""Between two rounds of tries to store a result."""


class ActivityStore:
    """See the module."""

    def __init__(self, provider: Provider, parked: ParkedInstances, skew: ClockSkew) -> None:
        self._provider = provider
        self._parked = parked
        self._skew = skew
        self.is_stopping = False
        """Whether results that the storage refuses are given up."""

    async def complete(self, held: HeldActivity, result: ResultData) -> None:
        """Store a result as a message, in a transaction of its own. The caller owns the activity."""
        try:
            await self._store(held, _message_of(held, result))
        except ActivityLeaseLost:
            # Another delivery counts, the result is void, or an earlier try of this call succeeded.
            _LOGGER.debug("the result of %s was not wanted", held.id)
            await self.account_for(held.lease)
        except ProviderError:
            _LOGGER.exception(
                "the result of activity %s of instance %r could not be stored before the runtime"
                " ended; it will run again",
                held.id,
                held.instance,
                extra=activity_fields(held),
            )
            await self.give_back(held)
        self._provider.notifier.notify_turns(held.instance)

    async def complete_in_transaction(
        self,
        held: HeldActivity,
        transaction: OpenTransaction,
        result: ResultData,
        *,
        roll_back: Callable[[], Awaitable[None]],
    ) -> BaseException | None:
        """Commit what the activity wrote together with its result.

        Returns why the database refuses what it wrote, None where it does not. A result whose lease
        is gone is dropped together with what was written. After an error of the storage it is not
        known whether the commit took effect: the activity is given back, which has no effect if it
        was completed. Where nothing is committed, `roll_back` comes before any other call, which the
        locks of the transaction would keep waiting.
        """
        refused: BaseException | None = None
        completion = ActivityCompletion(lease=held.lease, message=_message_of(held, result))
        try:
            await self._complete_in_transaction(held, transaction, completion)
            self._skew.kept += 1
        except ActivityLeaseLost:
            _LOGGER.debug("the result of %s was not wanted", held.id)
            await roll_back()
            await self.account_for(held.lease)
        except TransactionRefused as error:
            refused = error.__cause__ or error
        except ProviderError as error:
            _LOGGER.warning(
                "the transaction of activity %s of instance %r may not have been committed; if it"
                " was not, the activity runs again: %s",
                held.id,
                held.instance,
                error,
                extra=activity_fields(held),
            )
            await roll_back()
            await self.give_back(held, delay=_BETWEEN_STORES)
        self._provider.notifier.notify_turns(held.instance)
        return refused

    async def _complete_in_transaction(
        self, held: HeldActivity, transaction: OpenTransaction, completion: ActivityCompletion
    ) -> None:
        while True:
            try:
                await self._provider.complete_in_transaction(transaction, completion)
                return
            except ActivityLeaseLost:
                if held.token == completion.lease.token:
                    raise
                # This runtime has leased it again meanwhile, and it has adopted that lease.
                completion = replace(completion, lease=held.lease)

    async def tell_of_start(self, held: HeldActivity, event: int) -> None:
        """Tell the orchestration that the activity begins; without effect where the storage fails."""
        message = Message(
            id=activity_start_id(held.id),
            instance=held.instance,
            incarnation=held.incarnation,
            execution=held.execution,
            kind=MessageKind.ACTIVITY,
            data=encode_result(ResultData(scheduled=event, started=True)),
        )
        provider = self._provider
        try:
            await with_retries(
                provider.clock, lambda: provider.send([message]), tries=PATIENT_TRIES
            )
        except ProviderError as error:
            _LOGGER.warning(
                "the start of activity %s of instance %r could not be stored: %s",
                held.id,
                held.instance,
                error,
                extra=activity_fields(held),
            )
        provider.notifier.notify_turns(held.instance)

    async def _store(self, held: HeldActivity, message: Message) -> None:
        """Store a result, with tries without end: given back, the activity would run twice.

        Raises `ActivityLeaseLost` if the result is not wanted or another process has taken the
        activity over, and the storage's error if this runtime ends.
        """
        logged = ""
        while True:
            completion = ActivityCompletion(lease=held.lease, message=message)
            try:
                await with_retries(
                    self._provider.clock,
                    lambda each=completion: self._provider.complete_activity(each),
                    tries=PATIENT_TRIES,
                )
            except ActivityLeaseLost:
                if held.token == completion.lease.token:
                    raise
                # This runtime has leased it again meanwhile, and it has adopted that lease.
            except ProviderError as error:
                if self.is_stopping or isinstance(error, StorageClosed):
                    raise
                if str(error) != logged:
                    logged = str(error)
                    _LOGGER.warning(
                        "the result of activity %s of instance %r could not be stored yet: %s",
                        held.id,
                        held.instance,
                        error,
                        extra=activity_fields(held),
                    )
                await self._provider.clock.sleep(_BETWEEN_STORES)
            else:
                self._skew.kept += 1
                return

    async def park(
        self, held: HeldActivity, reason: str, details: str, *, delay: timedelta = _PARKED_FOR
    ) -> None:
        """Give the lease back with a mark on the instance, which says why it cannot go on."""
        mark = self._parked.mark(held.instance, reason, details)
        await self.give_back(held, delay=delay, parked=mark)
        self._provider.notifier.notify_instance(held.instance)

    async def give_back(
        self,
        held: HeldActivity,
        *,
        delay: timedelta = timedelta(0),
        parked: ParkedMark | None = None,
    ) -> None:
        """Give the lease back; where that fails it runs out."""
        release = ActivityRelease(lease=held.lease, delay=delay, counted=False, parked=parked)
        try:
            await with_retries(
                self._provider.clock,
                lambda: self._provider.release_activity(release),
                tries=PATIENT_TRIES,
            )
        except ProviderError as error:
            _LOGGER.warning(
                "activity %s was not given back: %s", held.id, error, extra=activity_fields(held)
            )
        self._provider.notifier.notify_activities()

    async def account_for(self, lease: ActivityLease) -> None:
        """Say of a lease that is gone that no process has ended under it.

        Where another process has taken the activity over, that lease must not count towards
        poison (ACT-23).
        """
        try:
            await self._provider.release_activity(ActivityRelease(lease=lease, counted=False))
        except ProviderError as error:
            _LOGGER.debug("no account was given of %s: %s", lease.activity, error)


def _message_of(held: HeldActivity, result: ResultData) -> Message:
    return Message(
        id=activity_result_id(held.id),
        instance=held.instance,
        incarnation=held.incarnation,
        execution=held.execution,
        kind=MessageKind.ACTIVITY,
        data=encode_result(result),
    )
