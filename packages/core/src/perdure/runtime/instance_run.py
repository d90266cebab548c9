"""Runs one instance's turns under one lease, from the lease to its release.

Why it is right:

- One `InstanceRun` at a time has an instance in this runtime, and it alone touches the execution.
- The execution in memory is ahead of the store while a commit is under way. Any commit that is
  not confirmed (refused, failed, cancelled, answer lost) drops the execution; the next lease
  rebuilds it from the history (contract: memory of an instance).
- Results taken from activities that run here keep their leases as preconditions of the commit.
  Those that no commit consumed are sent through `complete_activity`, so that none is lost.
- A suspicious instance (leased before without a commit) is given its messages one by one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Generator, Sequence
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Final

from perdure import history
from perdure.authoring.functions import OrchestrationDefinition
from perdure.contract.retries import PATIENT_TRIES, repeated
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
from perdure.model.details import ApplicationFailure
from perdure.model.wire import decode_start
from perdure.observe import TurnLost
from perdure.records.instances import (
    InstanceState,
    InstanceStatus,
    Message,
    MessageKind,
    ParkedMark,
)
from perdure.records.limits import ENGINE
from perdure.records.turns import CommitAnswer, LeasedTurn, TurnCommit, TurnLease, TurnRelease
from perdure.replay.execution import PYTHON, Execution
from perdure.replay.signals import ForbiddenUse, HistoryMismatch, UndecodableData
from perdure.replay.turn import TurnDraft
from perdure.runtime.activities import BROKEN, FinishedActivity, broke
from perdure.runtime.after_commit import direct_activities, notify, report
from perdure.runtime.cache import LiveExecution
from perdure.runtime.commits import Position, choose_direct, make_commit
from perdure.runtime.payload_budget import LARGE
from perdure.runtime.stepping import NoLongerWanted, run_in_slices, run_outside_tasks
from perdure.runtime.unserved import UNREGISTERED
from perdure.runtime.without_code import HeldInstance, end_without_code, parked_and_cancelled

if TYPE_CHECKING:
    from perdure.runtime.turns import Turns

_LOGGER = logging.getLogger("perdure.runtime")


class _After(Enum):
    """How a run goes on after a turn."""

    AGAIN = "there is more in hand"
    WAIT = "the lease is kept for work that is about to finish"
    STOP = "the lease is gone or given back"


class InstanceRun:
    """See the module. Made by `Turns` for every lease; `run` is its whole life."""

    def __init__(self, owner: Turns, leased: LeasedTurn, *, alone: bool = False) -> None:
        self._owner = owner
        self._provider = owner.provider
        self._options = owner.options
        self.state = leased.state
        """As it was leased; `_position` says what was committed since."""
        self.token = leased.token
        self.until = leased.until
        self.waiting_since: int | None = None
        """Since when the lease is kept without work in hand; None while there is some."""
        self._position = Position.of(leased.state)
        self.has_begun = False
        """Whether `run` was called: it gives the lease back then, however it ends."""
        self._one_by_one = leased.attempt > 1
        self._alone = alone
        self._execution: Execution | None = None
        self._inbox: deque[Message] = deque(_cancel_first(leased.messages))
        self._cancel: Message | None = _cancel_of(leased.messages)
        """A request to cancel that came under this lease."""
        self._finished: deque[FinishedActivity] = deque()
        self._taken: list[FinishedActivity] = []
        """Results that the execution has, until the commit that finishes them is confirmed."""
        self._more = leased.more
        self._closing = False
        self._let_go = False
        self._lost = False
        self._mail = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def lease(self) -> TurnLease:
        """The lease by name."""
        return TurnLease(instance=self.state.instance, token=self.token)

    # Called by others while it runs

    def take_result(self, finished: FinishedActivity) -> bool:
        """Take a result of this instance; False where it is not, or no longer, for this run."""
        leased = finished.leased
        if (
            self._closing
            or self._lost
            # Delivered before: it may end the process, and the instance must not share the blame.
            or leased.delivery > 1
            or leased.incarnation != self.state.incarnation
            or leased.execution != self._position.execution
        ):
            return False
        self._finished.append(finished)
        self._wake()
        return True

    def message_arrived(self) -> None:
        """A message for this instance was stored: do not keep it waiting."""
        self._mail = True
        if self.waiting_since is not None:
            self.let_go()

    def let_go(self) -> None:
        """Give the lease back instead of waiting on."""
        self._let_go = True
        self._wake()

    def lease_lost(self) -> None:
        """The lease is gone; nothing that this run does counts any more."""
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Its life

    async def run(self) -> None:
        """Run turns until the lease is given back or gone."""
        self.has_begun = True
        try:
            await self._obtain()
            await self._run_turns()
        except _IN_THE_WAY as refused:
            await self._park_or_end(_park_reason(refused), str(refused))
        except NoLongerWanted:
            if self._lost:
                self._tell_lost(None)
            await self._release()
        except (LeaseLost, HistoryConflict, InstanceNotFound, ExecutionNotFound) as lost:
            self._tell_lost(lost)
            if isinstance(lost, LeaseLost) and not isinstance(lost, ActivityLeaseLost):
                self._owner.clock_trouble.lost(self.state.instance, self.until)
            # Where another has taken the instance over, it says that this process lives.
            await self._release()
        except ProviderError as error:
            instance = self.state.instance
            fields = of_instance(instance)
            _LOGGER.warning("turn of instance %r failed: %s", instance, error, extra=fields)
            self._tell_lost(error)
            await self._release(delay=timedelta(seconds=1))
        except asyncio.CancelledError:
            await self._release()
            raise
        except Exception as error:
            instance = self.state.instance
            _LOGGER.exception("turn of instance %r broke", instance, extra=of_instance(instance))
            await self._park_or_end(BROKEN, broke(error))
        finally:
            self._closing = True
            await self._forget_execution()
            await self._return_results()

    async def give_back(self) -> None:
        """Give the lease back without a turn."""
        await self._release()

    async def _run_turns(self) -> None:
        while True:
            after = await self._turn()
            if after is _After.WAIT:
                after = await self._wait()
            if after is _After.STOP:
                return

    async def _wait(self) -> _After:
        """Keep the lease for results that are about to come; say how to go on."""
        if not self._finished and not self._mail and not self._let_go and not self._lost:
            self.waiting_since = self._provider.clock.now()
            self._waiter = asyncio.get_running_loop().create_future()
            self._owner.someone_waits()
            try:
                await self._waiter
            finally:
                self._waiter = None
                self.waiting_since = None
        if self._lost:
            self._tell_lost(None)
            await self._release()
            return _After.STOP
        if self._finished:
            return _After.AGAIN
        # Results that come from now on go through the mailbox.
        self._closing = True
        await self._keep_execution()
        await self._release()
        return _After.STOP

    # The execution

    async def _obtain(self) -> None:
        """Have the execution at hand, from the cache or rebuilt, unless it has yet to begin."""
        live = self._owner.cache.take(self.state.instance)
        if live is not None:
            if live.fits(self.state):
                self._execution = live.execution
                return
            await run_outside_tasks(live.execution.discard)
        if self.state.last_event == 0:
            return
        events = await self._owner.read_history(self.state)
        definition = self._definition(_started_version(events, self.state))
        await run_in_slices(self._rebuild(events, definition), wanted=self._is_wanted)

    def _rebuild(
        self, events: Sequence[history.Event], definition: OrchestrationDefinition
    ) -> Generator[None]:
        # Kept here by the last step itself, so that it is freed if this run is cancelled then.
        self._execution = yield from Execution.rebuilding(
            events,
            definition,
            self._owner.catalog,
            cleanup_timeout=self._options.cleanup_timeout,
            trace_paths=self._options.trace_paths,
            compare=self._options.compare,
        )
        self._owner.differing_values.tell(self._execution)

    def _is_wanted(self) -> bool:
        """Whether a long replay should go on: it is of no use without the lease or the runtime."""
        return not (self._lost or self._owner.stopping)

    def _definition(self, version: str | None) -> OrchestrationDefinition:
        definition = self._owner.catalog.orchestration(self.state.name, version)
        if definition is None:
            raise _NotServed(
                f"orchestration {self.state.name!r} version {version} is not registered here"
            )
        return definition

    def _begin(self, message: Message) -> None:
        try:
            start = decode_start(message.data)
        except ValueError as error:
            raise UndecodableData(f"start message {message.id!r}: {error}") from error
        definition = self._definition(self._position.version)
        started = history.OrchestrationStarted(
            event_id=1,
            at=self._provider.clock.now(),
            instance=self.state.instance,
            incarnation=self.state.incarnation,
            execution=self._position.execution,
            name=self.state.name,
            version=definition.version,
            input=start.input,
            python=PYTHON,
            engine=ENGINE,
            parent=self.state.parent,
            seen=start.seen,
        )
        self._execution = Execution.begin(
            started,
            definition,
            self._owner.catalog,
            cleanup_timeout=self._options.cleanup_timeout,
            trace_paths=self._options.trace_paths,
        )

    async def _keep_execution(self) -> None:
        """Hand the execution back to the cache, confirmed by the last commit."""
        execution, self._execution = self._execution, None
        if execution is None:
            return
        evicted = self._owner.cache.put(
            self.state.instance, LiveExecution(execution, self._position.last_commit)
        )
        if evicted is not None:
            await run_outside_tasks(evicted.discard)

    async def _forget_execution(self) -> None:
        execution, self._execution = self._execution, None
        if execution is not None:
            await run_outside_tasks(execution.discard)

    # One turn

    async def _turn(self) -> _After:
        """Make a turn; a large one waits until the large ones before it are committed."""
        size = self._payload_in_hand()
        if size < LARGE:
            return await self._make_turn()
        async with self._owner.payload_budget.take(size):
            return await self._make_turn()

    def _payload_in_hand(self) -> int:
        """In bytes."""
        size = sum(len(message.data) for message in self._inbox)
        return size + sum(len(one.result.result or "") for one in self._finished)

    async def _make_turn(self) -> _After:
        """Deliver what is in hand, commit, begin what it asks for."""
        consumed: list[str] = []
        finished = self._taken
        undecodable = await run_outside_tasks(lambda: self._deliver(consumed, finished))
        execution = self._execution
        try:
            draft = TurnDraft() if execution is None else execution.take_turn()
        except ForbiddenUse:
            # The turn is void; the results that it took go their own way.
            self._finished.extendleft(reversed(finished))
            raise
        if undecodable is not None and not consumed and not finished and not draft.events:
            raise undecodable
        direct = choose_direct(draft, self._owner.activities)
        commit = make_commit(
            draft,
            state=self.state,
            position=self._position,
            token=self.token,
            commit_id=self._owner.new_id(),
            version=self._pinned(draft),
            consumed=consumed,
            finished=finished,
            direct=direct,
            # The next execution takes everything anew, in its order, behind what is carried over.
            held=() if draft.end is not None else [message.id for message in self._inbox],
            keep_for=self._keep_for(draft, direct, undecodable),
            options=self._options,
        )
        # Before the commit: mail that comes during it may be missing in the answer.
        self._mail = False
        answer = await self._commit(commit, [draft.activities[n].name for n in direct])
        self._owner.note_commit(commit)
        await self._confirmed(commit, draft, direct, answer)
        if undecodable is not None:
            raise undecodable
        return await self._after(commit, draft, answer)

    def _deliver(
        self, consumed: list[str], finished: list[FinishedActivity]
    ) -> UndecodableData | None:
        """Give the execution its messages and results, one after the other.

        Returns the error of a message that cannot be decoded; it stays in the mailbox, and so do
        those behind it.
        """
        now = self._provider.clock.now()
        limit = 1 if self._one_by_one else len(self._inbox)
        while self._inbox and limit:
            message = self._inbox[0]
            try:
                if self._execution is None:
                    if message.kind is MessageKind.START:
                        self._begin(message)
                    else:
                        raise UndecodableData(
                            f"message {message.id!r} came where the start message was due"
                        )
                else:
                    self._execution.accept(message, now)
            except UndecodableData as error:
                cancelled = self._parked_and_cancelled(UNDECODABLE)
                if self._execution is None or cancelled is None:
                    return error
                # What its cleanup waits for may lie behind the message, and never be delivered.
                self._execution.fail_cleanup(cancelled)
                return None
            self._inbox.popleft()
            consumed.append(message.id)
            limit -= 1
            if self._execution is not None and self._execution.terminal is not None:
                return None
        if self._execution is not None:
            self._deliver_results(self._execution, finished, now)
        return None

    def _deliver_results(
        self, execution: Execution, finished: list[FinishedActivity], now: int
    ) -> None:
        limit = self._provider.finish_limit
        while self._finished and len(finished) < limit and execution.terminal is None:
            one = self._finished.popleft()
            if execution.accept_result(MessageKind.ACTIVITY, one.result, now):
                finished.append(one)
            # Else it was cancelled meanwhile: the commit that did it removed the activity.

    def _pinned(self, draft: TurnDraft) -> str | None:
        """The version to store: that of the next execution, or of this one at its first turn."""
        if draft.end is not None and draft.end.status is InstanceStatus.CONTINUED_AS_NEW:
            return draft.version
        execution = self._execution
        if execution is not None and self._position.version != execution.definition.version:
            return execution.definition.version
        return None

    def _keep_for(
        self, draft: TurnDraft, direct: Sequence[int], undecodable: UndecodableData | None
    ) -> timedelta | None:
        lease = self._options.turn_lease
        if self._alone or self._owner.stopping:
            return None
        if draft.end is not None:
            return lease if draft.end.status is InstanceStatus.CONTINUED_AS_NEW else None
        if undecodable is not None or self._inbox or self._finished or self._more:
            return lease
        activities = self._owner.activities
        soon = any(activities.expect_soon(draft.activities[number].name) for number in direct)
        return lease if soon or activities.soon_done(self.state.instance) else None

    async def _commit(self, commit: TurnCommit, reserved: Sequence[str]) -> CommitAnswer:
        try:
            answer = await repeated(
                self._provider.clock,
                lambda: self._provider.commit_turn(commit),
                tries=PATIENT_TRIES,
            )
        except BaseException:
            self._owner.activities.unreserve(reserved)
            # Whatever lease still stands goes its own way. Where it is gone, or the commit did take
            # effect, `complete_activity` says so; and one that was lost may have been leased anew
            # by this runtime meanwhile.
            raise
        self._taken = []
        return answer

    async def _confirmed(
        self, commit: TurnCommit, draft: TurnDraft, direct: Sequence[int], answer: CommitAnswer
    ) -> None:
        """Note in memory what is now in the store, and begin what the commit asked for."""
        owner, instance, position = self._owner, commit.instance, self._position
        position.last_event += len(commit.events)
        position.last_commit = commit.id
        position.version = commit.version or position.version
        owner.activities.settled(commit.finish)
        if answer.lease_until is not None:
            self.until = answer.lease_until
        if direct:
            owner.activities.start_reserved(
                direct_activities(commit, draft, direct, answer, self._provider.clock.now())
            )
        if draft.ending_activities:
            owner.activities.ask_to_end(instance, draft.ending_activities)
        if draft.cancelled_activities:
            owner.activities.cancel(instance, draft.cancelled_activities)
        if draft.end is not None:
            owner.activities.cancel(instance)
        notify(self._provider.notifier, commit, len(direct))
        report(
            owner.observers,
            commit,
            draft,
            answer,
            orchestration=self.state.name,
            version=position.version or "",
            at=self._provider.clock.now(),
        )

    async def _after(self, commit: TurnCommit, draft: TurnDraft, answer: CommitAnswer) -> _After:
        if draft.end is not None:
            # Their activities are void.
            self._owner.activities.settled(one.lease for one in self._finished)
            self._finished.clear()
            await self._forget_execution()
            if draft.end.status is not InstanceStatus.CONTINUED_AS_NEW:
                return _After.STOP
            self._next_execution(draft)
        if commit.keep_for is None:
            # Results that come from now on go through the mailbox.
            self._closing = True
            await self._keep_execution()
            if self._mail or self._inbox or self._more:
                self._provider.notifier.notify_turns()
            return _After.STOP
        self._inbox.extend(_cancel_first(answer.messages))
        self._cancel = self._cancel or _cancel_of(answer.messages)
        self._more = answer.more
        if draft.end is not None and not self._serves_next():
            self._closing = True
            await self._release()
            return _After.STOP
        return _After.AGAIN if self._inbox or self._finished else _After.WAIT

    def _next_execution(self, draft: TurnDraft) -> None:
        self._inbox.clear()
        position = self._position
        position.execution += 1
        position.last_event = 0
        position.version = draft.version

    def _serves_next(self) -> bool:
        return (
            self._owner.catalog.orchestration(self.state.name, self._position.version) is not None
        )

    # Giving up

    async def _park_or_end(self, reason: str, details: str) -> None:
        """Its code cannot go on for now; it ends where it was parked for that and is cancelled."""
        cancelled = self._parked_and_cancelled(reason)
        if cancelled is None:
            await self._park(reason, details)
            return
        held = HeldInstance(
            state=self.state,
            position=self._position,
            token=self.token,
            messages=[*self._inbox, *([self._cancel] if self._cancel else [])],
        )
        try:
            await end_without_code(self._owner, held, cancelled)
        except ProviderError as error:
            instance = self.state.instance
            fields = of_instance(instance)
            _LOGGER.warning("instance %r could not be ended: %s", instance, error, extra=fields)
            await self._release(delay=timedelta(seconds=1))

    def _parked_and_cancelled(self, reason: str) -> ApplicationFailure | None:
        messages = [self._cancel] if self._cancel is not None else []
        return parked_and_cancelled(self.state, reason, messages)

    async def _park(self, reason: str, details: str) -> None:
        parkings, instance = self._owner.parkings, self.state.instance
        mark = parkings.mark(instance, reason, details)
        await self._release(delay=parkings.next_delay(instance), parked=mark)

    async def _release(
        self,
        *,
        delay: timedelta = timedelta(0),
        parked: ParkedMark | None = None,
    ) -> None:
        release = TurnRelease(lease=self.lease, delay=delay, counted=False, parked=parked)
        try:
            await repeated(
                self._provider.clock,
                lambda: self._provider.release_turn(release),
                tries=PATIENT_TRIES,
            )
        except ProviderError as error:
            instance = self.state.instance
            fields = of_instance(instance)
            _LOGGER.warning("the lease of %r was not given back: %s", instance, error, extra=fields)
        self._provider.notifier.notify_turns()
        if parked is not None:
            self._provider.notifier.notify_instance(self.state.instance)

    async def _return_results(self) -> None:
        """Send what no commit finished as messages; their leases still stand.

        Where a commit did take effect after all, `complete_activity` finds the activity gone.
        """
        left = [*self._taken, *self._finished]
        try:
            for one in left:
                await self._owner.activities.complete(one)
        finally:
            # Where this is cancelled, the leases of the others run out.
            self._owner.activities.settled(one.lease for one in left)

    def _tell_lost(self, error: Exception | None) -> None:
        if self._owner.observers:
            self._owner.observers.tell(
                TurnLost(
                    at=self._provider.clock.now(),
                    instance=self.state.instance,
                    reason="the lease was lost" if error is None else str(error),
                )
            )


class _NotServed(Exception):  # a signal within this module
    """The version that the history was written with is not registered here."""


_IN_THE_WAY = (HistoryMismatch, ForbiddenUse, UndecodableData, StorageCorrupt, _NotServed)
"""What keeps the code of an instance from going on, until somebody mends it."""
UNDECODABLE: Final = "undecodable"
"""The reason of the mark."""


def _park_reason(refused: Exception) -> str:
    match refused:
        case HistoryMismatch():
            return "nondeterminism"
        case ForbiddenUse():
            return "forbidden"
        case _NotServed():
            return UNREGISTERED
        case _:
            return UNDECODABLE


def _started_version(events: Sequence[history.Event], state: InstanceState) -> str | None:
    first = events[0] if events else None
    return first.version if isinstance(first, history.OrchestrationStarted) else state.version


def _cancel_of(messages: Sequence[Message]) -> Message | None:
    return next((message for message in messages if message.kind is MessageKind.CANCEL), None)


def _cancel_first(messages: Sequence[Message]) -> list[Message]:
    """A cancellation wins over what came with it; only the start is older than everything."""
    return sorted(messages, key=_urgency)


def _urgency(message: Message) -> int:
    return _URGENCY.get(message.kind, 2)


_URGENCY = {MessageKind.START: 0, MessageKind.CANCEL: 1}
