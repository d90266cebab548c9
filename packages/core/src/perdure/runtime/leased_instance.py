"""Runs the turns of one instance under one lease, from the lease to its release.

Why it is right:

- One leased instance at a time has an instance in this runtime (`turn_leases`), and it alone
  touches the execution.
- The execution in memory is ahead of the store while a commit is under way. Any commit that is
  not confirmed (refused, failed, cancelled, answer lost) drops the execution; the next lease
  rebuilds it from the history.
- An activity whose result was handed over belongs to this lease (`activity_leases`): a commit
  finishes it, with its lease as a precondition (COMMIT-5), or its result is stored as a message
  when this lease ends, so that none is lost.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from functools import partial
from time import perf_counter

from perdure.clock import Instant
from perdure.contract.retries import PATIENT_TRIES, tried_again
from perdure.diagnostics.logs import of_instance
from perdure.errors import (
    ActivityLeaseLost,
    ExecutionNotFound,
    HistoryConflict,
    InstanceNotFound,
    LeaseLost,
    ProviderError,
    StorageCorrupt,
)
from perdure.model.parked_reasons import (
    BROKEN,
    FORBIDDEN,
    NONDETERMINISM,
    RAISED,
    UNDECODABLE,
    UNREGISTERED,
)
from perdure.observe import TurnLost
from perdure.records.instances import InstanceStatus, Message
from perdure.records.turns import CommitAnswer, LeasedTurn, TurnCommit
from perdure.replay.execution import Execution
from perdure.replay.signals import (
    ForbiddenUse,
    HistoryMismatch,
    UncaughtError,
    UndecodableData,
)
from perdure.replay.turn import TurnDraft
from perdure.runtime.activity_leases import HeldActivity
from perdure.runtime.after_commit import TurnTimes, follow
from perdure.runtime.bytes_in_flight import LARGE, counted
from perdure.runtime.commits import EncodedDraft, make_turn_commit
from perdure.runtime.copies import SourceGone
from perdure.runtime.delivery import Delivery
from perdure.runtime.executions import NotRegistered
from perdure.runtime.held_instance import HeldInstance
from perdure.runtime.histories import read_values
from perdure.runtime.host_loop import NoLongerWanted, Pacer, run_in_slices
from perdure.runtime.parking import broken, parked_and_cancelled
from perdure.runtime.turn_services import TurnServices
from perdure.runtime.turn_store import fail, give_back, park
from perdure.runtime.wrapped_turn import turn_call, wrapped_turn

_LOGGER = logging.getLogger("perdure.runtime")
_MANY = 100
"""More events than these are encoded in slices of the host's loop."""
_AFTER_FAILURE = timedelta(seconds=1)
"""How long an instance is hidden after its storage failed."""


class _After(Enum):
    """How a lease goes on after a turn."""

    AGAIN = "there is more in hand"
    WAIT = "the lease is kept for work that is about to end"
    STOP = "the lease is gone or given back"


class LeasedInstance:
    """See the module. The dispatcher makes one for each lease; `run` is its whole life."""

    __slots__ = (
        "_copied",
        "_delivering",
        "_delivery",
        "_is_closing",
        "_is_isolated",
        "_is_let_go",
        "_is_lost",
        "_message_came",
        "_outside",
        "_services",
        "_waiter",
        "has_begun",
        "held",
        "idle_since",
        "in_flight",
        "task",
    )

    def __init__(
        self,
        services: TurnServices,
        leased: LeasedTurn,
        *,
        in_flight: int = 0,
        isolated: bool = False,
    ) -> None:
        self._services = services
        self.held = HeldInstance.of(leased)
        self._delivery = Delivery(
            leased.state, leased.messages, more=leased.more, one_by_one=leased.attempt > 1
        )
        self.in_flight = in_flight
        """How many bytes of payload it counts for: what is to be delivered, and what its execution
        was given."""
        self._delivering = 0
        """How many bytes of payload the turn delivers that is made, if it counts for some."""
        self._copied: Execution | None = None
        """The execution that the start message begins, where it begins with a copied history."""
        self._is_isolated = isolated
        self.task: asyncio.Task[None] | None = None
        """The task that runs it."""
        self.has_begun = False
        """Whether `run` was called: it gives the lease back then, however it ends."""
        self.idle_since: Instant | None = None
        """Since when the lease is kept without work in hand; None while there is some."""
        self._is_closing = False
        """Whether it takes no results any more: they go through the mailbox."""
        self._is_let_go = False
        self._is_lost = False
        self._message_came = False
        self._outside: contextvars.Context | None = None
        """Around the wrappers of the turn, whose context variables nothing has that the turn begins."""
        self._waiter: asyncio.Future[None] | None = None

    # Called by others while it runs

    def take_result(self, activity: HeldActivity) -> bool:
        """Own the result of an activity; False if it is not, or no longer, for this lease."""
        held = self.held
        if (
            self._is_closing
            or self._is_lost
            # Delivered before: it may end the process, and the instance must not share the blame.
            or activity.delivery > 1
            or activity.incarnation != held.state.incarnation
            or activity.execution != held.execution
        ):
            return False
        self._delivery.results.append(activity)
        self._wake()
        return True

    def message_arrived(self) -> None:
        """A message for this instance was stored: it must not wait."""
        self._message_came = True
        if self.idle_since is not None:
            self.let_go()

    def let_go(self) -> None:
        """Give the lease back instead of waiting on."""
        self._is_let_go = True
        self._wake()

    def lease_lost(self) -> None:
        """The lease is gone; nothing that happens under it counts any more."""
        self._is_lost = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Its life

    async def run(self) -> None:
        """Run turns until the lease is given back or gone."""
        self.has_begun = True
        try:
            executions = self._services.executions
            self._delivery.execution = await executions.load(
                self.held.state, wanted=self._is_wanted
            )
            if self._delivery.execution is None and self.held.state.value_count:
                self.held.inherited = await read_values(self._services.provider, self.held.state)
            start = self._delivery.start_of_copy
            if start is not None:
                self._copied = await executions.copy(start, self.held, wanted=self._is_wanted)
            await self._run_turns()
        except SourceGone as gone:
            await fail(self._services, self.held, self._delivery.all_messages, gone.details)
        except _IN_THE_WAY as refused:
            await self._park_or_fail(_reason(refused), str(refused))
        except NoLongerWanted:
            if self._is_lost:
                self._report_lost(None)
            await self.give_back()
        except (LeaseLost, HistoryConflict, InstanceNotFound, ExecutionNotFound) as lost:
            self._report_lost(lost)
            if isinstance(lost, LeaseLost) and not isinstance(lost, ActivityLeaseLost):
                self._services.skew.lease_lost(self.held.instance, self.held.until)
            # If another process has taken the instance over, this says that no process ended.
            await self.give_back()
        except ProviderError as error:
            instance = self.held.instance
            fields = of_instance(instance)
            _LOGGER.warning("turn of instance %r failed: %s", instance, error, extra=fields)
            self._report_lost(error)
            await self.give_back(delay=_AFTER_FAILURE)
        except asyncio.CancelledError:
            await self.give_back()
            raise
        except Exception as error:
            instance = self.held.instance
            _LOGGER.exception("turn of instance %r broke", instance, extra=of_instance(instance))
            await self._park_or_fail(BROKEN, broken(error))
        finally:
            self._is_closing = True
            self._discard_execution()
            await self._store_results()

    async def give_back(self, *, delay: timedelta = timedelta(0)) -> None:
        """Give the lease back without a turn."""
        await give_back(self._services, self.held, delay=delay)

    async def _run_turns(self) -> None:
        while True:
            size = self._delivery.payload
            turn = self._wrapped_turn if self._services.wrappers else self._turn
            if size >= LARGE or self.in_flight:
                self._count(size)
            if size < LARGE:
                after = await turn()
            else:  # it waits until the large turns before it are committed
                async with self._services.payload_budget.take(size):
                    after = await turn()
            if after is _After.WAIT:
                after = await self._wait()
            elif after is _After.AGAIN:
                await asyncio.sleep(0)  # an instance that always has work must not be the only one
            if after is _After.STOP:
                return

    def _count(self, delivering: int) -> None:
        """Update what counts as in flight: so much to be delivered, and what the execution was given."""
        execution = self._delivery.execution
        # What begins an execution is its input, which it counts itself.
        self._delivering = 0 if execution is None else delivering
        given = 0 if execution is None else execution.given
        share, before = self._services.in_flight, self.in_flight
        self.in_flight = counted(delivering + given)
        share.take(self.in_flight)
        share.give(before)

    async def _wait(self) -> _After:
        """Keep the lease for results that are about to come; say how to go on."""
        delivery, waiting = self._delivery, self.in_flight
        if waiting:
            self._count_as_waiting()
        if not (delivery.results or self._message_came or self._is_let_go or self._is_lost):
            self.idle_since = self._services.provider.clock.now()
            self._waiter = asyncio.get_running_loop().create_future()
            self._services.idle.set()
            try:
                await self._waiter
            finally:
                self._waiter = None
                self.idle_since = None
                if waiting:
                    self._services.executions.end_waiting(waiting)
        elif waiting:
            self._services.executions.end_waiting(waiting)
        if self._is_lost:
            self._report_lost(None)
            await self.give_back()
            return _After.STOP
        if delivery.results:
            return _After.AGAIN
        self._is_closing = True
        self._cache_execution()
        await self.give_back()
        return _After.STOP

    def _count_as_waiting(self) -> None:
        """Count with the cached executions while it waits; let go if there is no room."""
        executions, size = self._services.executions, self.in_flight
        self._services.in_flight.give(size)
        self.in_flight = 0
        executions.begin_waiting(size)
        self._is_let_go |= not executions.make_room()

    def _is_wanted(self) -> bool:
        """Whether a long replay should go on: it is of no use without the lease or the runtime."""
        return not (self._is_lost or self._services.is_stopping)

    # One turn

    async def _wrapped_turn(self) -> _After:
        delivery = self._delivery
        call = turn_call(self.held, delivery.execution or self._copied, delivery.messages)
        self._outside = contextvars.copy_context()
        return await wrapped_turn(self._services.wrappers, call, self._turn)

    async def _turn(self) -> _After:
        """Deliver what is in hand, commit, begin what the commit asks for."""
        services, delivery = self._services, self._delivery
        provider, began = services.provider, perf_counter()
        undecodable = await delivery.deliver(
            self._begin, provider.clock.now(), provider.finish_limit, Pacer()
        )
        draft = self._take_draft()
        if undecodable is not None and not (delivery.consumed or delivery.taken or draft.events):
            raise undecodable
        direct = services.activities.reserve(self.held.instance, draft.activities.values())
        try:
            encoded = await _encoded(draft) if len(draft.events) > _MANY else None
            commit = make_turn_commit(
                services,
                self.held,
                delivery,
                draft,
                direct,
                undecodable=undecodable,
                may_keep=not self._is_isolated,
                encoded=encoded,
            )
            # Before the commit: a message that comes during it may be missing in the answer.
            self._message_came = False
            made = perf_counter()
            answer = await self._commit(commit)
        except BaseException:
            services.activities.unreserve(direct)
            raise
        if delivery.taken:
            self._release(delivery.taken)
        if self.in_flight:
            self._note_given(commit)
        times = TurnTimes(made - began, perf_counter() - made)
        execution = delivery.execution
        started = None if execution is None else execution.started
        begin = follow if self._outside is None else partial(self._outside.run, follow)
        begin(services, self.held, commit, draft, answer, direct, started=started, times=times)
        if undecodable is not None:
            raise undecodable
        return await self._after(commit, draft, answer)

    def _note_given(self, commit: TurnCommit) -> None:
        """What was delivered is the execution's now."""
        execution = self._delivery.execution
        if execution is not None:
            execution.was_given(self._delivering, asks=bool(commit.add or commit.create))
        self._count(0)

    def _begin(self, start: Message) -> Execution:
        if self._copied is not None:
            copied, self._copied = self._copied, None
            return copied
        held, now = self.held, self._services.provider.clock.now()
        return self._services.executions.begin(start, held, now)

    def _take_draft(self) -> TurnDraft:
        delivery = self._delivery
        if delivery.dropped:
            self._release(delivery.dropped)
        if delivery.execution is None:
            return TurnDraft()
        try:
            return delivery.execution.take_turn()
        except (ForbiddenUse, UncaughtError):
            delivery.take_back()
            raise

    async def _commit(self, commit: TurnCommit) -> CommitAnswer:
        # If it fails, the activities whose results were taken stay with this lease until it ends.
        # If their own leases are gone, or the commit did take effect, `complete_activity` says so.
        provider = self._services.provider
        try:
            return await provider.commit_turn(commit)
        except ProviderError as error:
            if not error.retryable:
                raise
        return await tried_again(
            provider.clock, lambda: provider.commit_turn(commit), tries=PATIENT_TRIES - 1
        )

    async def _after(self, commit: TurnCommit, draft: TurnDraft, answer: CommitAnswer) -> _After:
        delivery = self._delivery
        if draft.front:
            # The answer has them again, in the order that they have now.
            delivery.messages.clear()
        if draft.end is not None:
            # Their activities are void.
            self._release(delivery.results)
            ended = delivery.execution
            values: Mapping[str, str] = {} if ended is None else ended.values
            self._discard_execution()
            if draft.end.status is not InstanceStatus.CONTINUED_AS_NEW:
                return _After.STOP
            self.held.next_execution(draft.version, values)
        if commit.keep_for is None:
            self._is_closing = True
            self._cache_execution()
            if self._message_came or delivery.messages or delivery.more:
                self._services.provider.notifier.notify_turns()
            return _After.STOP
        delivery.add(answer.messages, more=answer.more)
        if draft.end is not None and not self._serves_next():
            self._is_closing = True
            await self.give_back()
            return _After.STOP
        return _After.AGAIN if delivery.has_work else _After.WAIT

    def _serves_next(self) -> bool:
        return self._services.executions.has(self.held.state.name, self.held.version)

    # The execution and the activities in hand

    def _cache_execution(self) -> None:
        """Hand the execution back to the cache, confirmed by the last commit."""
        execution, self._delivery.execution = self._delivery.execution, None
        if self.in_flight:
            self._services.in_flight.give(self.in_flight)
            self.in_flight = 0
        if execution is not None:
            held = self.held
            self._services.executions.keep(held.instance, execution, held.last_commit)

    def _discard_execution(self) -> None:
        execution, self._delivery.execution = self._delivery.execution or self._copied, None
        self._copied = None
        if execution is not None:
            execution.discard()

    def _release(self, activities: list[HeldActivity]) -> None:
        """Own these activities no longer: what became of them is stored, or they are void."""
        for activity in activities:
            self._services.activities.leases.release(activity)
        activities.clear()

    async def _store_results(self) -> None:
        """Store what no commit finished as messages; the leases of these activities still stand.

        If a commit did take effect after all, `complete_activity` finds the activity gone.
        """
        activities = self._services.activities
        left = [*self._delivery.taken, *self._delivery.results]
        try:
            for activity in left:
                if activity.result is not None:
                    await activities.store.complete(activity, activity.result)
                activities.leases.release(activity)
        finally:
            # If this is cancelled, the leases of the others run out.
            self._release(left)

    # Giving up

    async def _park_or_fail(self, reason: str, details: str) -> None:
        """Park it, or end it if it was parked for this reason before and is to be cancelled."""
        messages = self._delivery.all_messages
        cancelled = parked_and_cancelled(self.held.state, reason, messages)
        if cancelled is None:
            came = self._message_came
            await park(self._services, self.held, reason, details, message_came=came)
        else:
            await fail(self._services, self.held, messages, cancelled)

    def _report_lost(self, error: Exception | None) -> None:
        services = self._services
        if services.observers.any:
            services.observers.notify(
                TurnLost(
                    at=services.provider.clock.now(),
                    instance=self.held.instance,
                    reason="the lease was lost" if error is None else str(error),
                )
            )


async def _encoded(draft: TurnDraft) -> EncodedDraft:
    encoded = EncodedDraft()
    await run_in_slices(encoded.encode(draft))
    return encoded


_IN_THE_WAY = (
    HistoryMismatch,
    ForbiddenUse,
    UncaughtError,
    UndecodableData,
    StorageCorrupt,
    NotRegistered,
)
"""What keeps the code of an instance from going on, until it is mended."""


def _reason(refused: Exception) -> str:
    match refused:
        case HistoryMismatch():
            return NONDETERMINISM
        case ForbiddenUse():
            return FORBIDDEN
        case UncaughtError():
            return RAISED
        case NotRegistered():
            return UNREGISTERED
        case _:
            return UNDECODABLE
