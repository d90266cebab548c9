"""Runs leased activities, each in a task of its own, and hands their results on.

A result goes to a turn of its instance if this runtime holds the instance's lease (one durable
write for both); otherwise the runner stores it as a message.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import ActivityDefinition
from perdure.clock import Clock, Instant
from perdure.diagnostics.failures import not_begun, timed_out
from perdure.model.details import ApplicationFailure, ErrorDetails, Poisoned
from perdure.model.parked_reasons import BROKEN, SUSPECTED, UNDECODABLE
from perdure.model.wire import ActivityData, ResultData, decode_activity
from perdure.runtime.activity_call import ActivityCaller, ActivityTask, AttemptLimit, FailedCall
from perdure.runtime.activity_context import ActivityContext, Cancellation
from perdure.runtime.activity_leases import (
    ActivityLeases,
    HeldActivity,
    LeaseState,
    ResultTaker,
)
from perdure.runtime.activity_log import (
    activity_fields,
    log_failed,
    log_given_up,
    observe_end,
    observe_start,
)
from perdure.runtime.activity_store import ActivityStore
from perdure.runtime.clock_skew import ClockSkew
from perdure.runtime.host_loop import log_broken_task
from perdure.runtime.isolation_gate import RETURN_AFTER, IsolationGate
from perdure.runtime.observers import Observers
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.parking import broken, suspected
from perdure.runtime.slots import Slots
from perdure.runtime.transactional_activity import ActivityTransactions
from perdure.runtime.worker_tag import WorkerTag

if TYPE_CHECKING:
    from perdure.client import Client
    from perdure.runtime.stall_watch import StallWatch

_LOGGER = logging.getLogger("perdure.runtime")
_LARGE = 16 * 1024
"""An input of so many characters is let go of before its function is called."""


class ActivityRunner:
    """See the module."""

    def __init__(
        self,
        *,
        clock: Clock,
        catalog: Catalog,
        options: RuntimeOptions,
        observers: Observers,
        leases: ActivityLeases,
        results: ResultTaker,
        store: ActivityStore,
        slots: Slots,
        caller: ActivityCaller,
        gate: IsolationGate,
        skew: ClockSkew,
        stalls: StallWatch,
        client: Client,
        resources: object,
        worker_tag: WorkerTag,
        transactions: ActivityTransactions,
    ) -> None:
        self._worker_tag = worker_tag
        self._clock = clock
        self._catalog = catalog
        self._options = options
        self._observers = observers
        self._leases = leases
        self._results = results
        self._store = store
        self._slots = slots
        self._caller = caller
        self._gate = gate
        self._skew = skew
        self._stalls = stalls
        self._client = client
        self._resources = resources
        self._transactions = transactions
        self._cancellation_lock = threading.Lock()
        self._hold = options.hold.total_seconds()
        self._durations: dict[str, float] = {}
        """How long activities of a name took lately, in seconds."""

    # What is expected of activities

    def soon_done(self, instance: str) -> bool:
        """Whether an activity of this instance runs here and is expected to end soon."""
        for held in self._leases.running_of(instance):
            if held.is_wanted and held.delivery == 1 and self.expect_soon(held.name):
                return True
        return False

    def expect_soon(self, name: str) -> bool:
        """Whether activities of this name have ended soon so far."""
        return self._durations.get(name, 0.0) <= self._hold

    def _learn(self, name: str, began: int) -> None:
        took = max(0, self._clock.now() - began) / 1_000_000
        known = self._durations.get(name)
        self._durations[name] = took if known is None else 0.7 * known + 0.3 * took

    # Running one

    def start(
        self,
        held: HeldActivity,
        now: Instant,
        *,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Run an activity whose slot is taken, once `after` has returned."""
        self._leases.begin(held, now)
        if not self._stalls.is_armed:
            self._stalls.arm()
        held.task = ActivityTask(
            self._run(held, after),
            loop=asyncio.get_running_loop(),
            name=f"activity {held.name!r} of {held.instance!r}",
        )

    async def _run(self, held: HeldActivity, after: Callable[[], Awaitable[None]] | None) -> None:
        try:
            if after is not None:
                await after()
            if held.delivery > self._options.max_attempts and not self._skew.is_recent:
                await self._run_suspected(held)
            elif self._gate.try_enter():
                try:
                    await self._execute(held)
                finally:
                    self._gate.leave()
            else:
                async with self._gate.entered() as may_begin:
                    await (self._execute(held) if may_begin else self._store.give_back(held))
        except asyncio.CancelledError:
            if held.is_wanted:  # the runtime is closing
                _log_what_breaks()
                await self._store.give_back(held)
        except Exception as error:
            _log_what_breaks()
            _LOGGER.exception(
                "activity %s of instance %r broke",
                held.id,
                held.instance,
                extra=activity_fields(held),
            )
            await self._store.park(held, BROKEN, broken(error))
        finally:
            # Not where a leased instance owns it: its slot is free since then.
            if held.state is LeaseState.RUNNING:
                self._leases.release(held)
                self._slots.give(held.name)

    async def _run_suspected(self, held: HeldActivity) -> None:
        """Blame it only after it ended the process once more with nothing beside it."""
        if held.delivery > self._options.max_attempts + 1:
            poisoned = Poisoned(work=f"activity {held.name!r}", attempts=held.delivery - 1)
            details = ApplicationFailure(poisoned)
            log_given_up(held, details)
            await self._finish(held, details, held.event)
            return
        async with self._gate.isolated() as is_isolated:
            if is_isolated:
                await self._execute(held)
            else:
                why = suspected(held.delivery - 1)
                await self._store.park(held, SUSPECTED, why, delay=RETURN_AFTER)

    async def _execute(self, held: HeldActivity) -> None:
        definition = cast("ActivityDefinition", self._catalog.activity(held.name))
        data = held.data
        if data is None:
            try:
                data = decode_activity(held.stored)
            except ValueError as error:
                await self._store.park(held, UNDECODABLE, f"activity {held.id}: {error}")
                return
        # Held as long as the function runs, and needed no more: what it is called with counts.
        held.data, held.stored = None, b""
        held.deadline, held.awaited = data.deadline, data.awaited
        text = [data.input]
        if len(text[0]) >= _LARGE:
            data = replace(data, input="")
        if data.start_by is not None and not await self._tell_of_start(held, data, data.start_by):
            return
        context = held.context = self._context(held, data)
        if held.should_end:
            context.cancellation.request()
        if not held.is_wanted:
            return
        began = held.called_at = self._clock.now()
        observe_start(self._observers, held, data, began)
        if definition.transactional:
            outcome = await self._call_in_transaction(held, definition, text, data)
            if outcome is None:
                return
        else:
            outcome = await self._call(definition, text, data.timeout, context)
        self._learn(held.name, began)
        if isinstance(outcome, FailedCall):
            log_failed(held, data, outcome, wanted=held.is_wanted)
            outcome = outcome.details
        await self._finish(held, outcome, data.event)

    async def _tell_of_start(
        self, held: HeldActivity, data: ActivityData, start_by: Instant
    ) -> bool:
        """Tell the orchestration that the activity begins; False if it is too late to begin."""
        if self._clock.now() > start_by:
            details = not_begun()
            log_given_up(held, details)
            await self._finish(held, details, data.event)
            return False
        await self._store.tell_of_start(held, data.event)
        return True

    async def _call_in_transaction(
        self,
        held: HeldActivity,
        definition: ActivityDefinition,
        text: list[str],
        data: ActivityData,
    ) -> str | FailedCall | None:
        """The outcome that is still to be stored; None if it was stored with what was written."""
        transaction = await self._transactions.begin(held, blocking=not definition.asynchronous)
        if transaction is None:
            await self._store.give_back(held, delay=RETURN_AFTER)
            return None
        in_use = False
        try:
            if not held.is_wanted:
                return None
            # Until its function has ended, a thread may use the connection.
            in_use = not definition.asynchronous
            context = held.context = replace(
                cast("ActivityContext[object]", held.context), transaction=transaction
            )
            outcome = await self._call(definition, text, data.timeout, context)
            in_use = in_use and isinstance(outcome, FailedCall) and outcome.error is None
            if isinstance(outcome, FailedCall) or not held.is_wanted:
                return outcome
            result = _result_of(held, outcome, data.event)
            self._leases.has_ended(held, result)
            refused = await self._store.complete_in_transaction(
                held,
                transaction,
                result,
                roll_back=lambda: self._transactions.roll_back(transaction, in_use=False),
            )
            if refused is not None:
                return self._caller.failure(refused)
        finally:
            await self._transactions.roll_back(transaction, in_use=in_use)
        if self._observers.any:
            observe_end(self._observers, held, "completed", self._clock.now(), None)
        return None

    def _call(
        self,
        definition: ActivityDefinition,
        text: list[str],
        timeout: timedelta | None,
        context: ActivityContext[object],
    ) -> Awaitable[str | FailedCall]:
        # Not a coroutine around another: every activity is called.
        if timeout is None:
            return self._caller.call(definition, text, context)
        return self._call_within(timeout, definition, text, context)

    async def _call_within(
        self,
        timeout: timedelta,
        definition: ActivityDefinition,
        text: list[str],
        context: ActivityContext[object],
    ) -> str | FailedCall:
        with AttemptLimit(self._clock, timeout, request_end=context.cancellation.request):
            return await self._caller.call(definition, text, context)
        return FailedCall(timed_out("attempt_timeout", retryable=True))

    async def _finish(self, held: HeldActivity, outcome: str | ErrorDetails, event: int) -> None:
        failed = not isinstance(outcome, str)
        if self._observers.any:
            how = "failed" if failed else "completed"
            failure = None if isinstance(outcome, str) else outcome
            observe_end(self._observers, held, how, self._clock.now(), failure)
        if not held.is_wanted:
            return
        result = _result_of(held, outcome, event)
        self._leases.has_ended(held, result)
        if self._results.take_result(held):
            self._leases.hand_over(held)
            self._slots.give(held.name)
        else:
            # It keeps its lease and its slot until it is stored: a slow storage must neither
            # cost a result that is there, nor be given more to do meanwhile.
            await self._store.complete(held, result)

    def _context(self, held: HeldActivity, data: ActivityData) -> ActivityContext[object]:
        return ActivityContext(
            instance=held.instance,
            incarnation=held.incarnation,
            execution=held.execution,
            activity_id=held.id,
            name=held.name,
            attempt=data.attempt,
            delivery=held.delivery,
            idempotency_key=f"{held.incarnation}:{data.origin or held.execution}:{data.first}",
            client=self._client,
            headers=data.headers or _NO_HEADERS,
            resources=self._resources,
            cancellation=Cancellation(self._cancellation_lock),
            worker=self._worker_tag,
        )


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def _result_of(held: HeldActivity, outcome: str | ErrorDetails, event: int) -> ResultData:
    if isinstance(outcome, str):
        result = ResultData(scheduled=event, result=outcome)
    else:
        result = ResultData(scheduled=event, details=outcome)
    return result if held.delivery <= 1 else replace(result, delivery=held.delivery)


def _log_what_breaks() -> None:
    """Log what the current task raises from here on; not before, for its steps are the hot path."""
    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(log_broken_task)
