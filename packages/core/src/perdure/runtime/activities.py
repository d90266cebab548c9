"""Runs activities: those that a commit added already leased, and those from the queue.

An activity's result goes to the instance's turn where this runtime holds its lease (one durable
write for both), else through `complete_activity`. A result whose lease is gone is dropped: the
other delivery counts (contract clauses on activities).

No activity runs twice beside itself in a process. Where a lease call returns what runs here
already, since its lease had expired, the running one goes on under the new lease.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from perdure.authoring.functions import ActivityDefinition
from perdure.authoring.registry import Catalog
from perdure.clock import to_microseconds
from perdure.contract.provider import Provider
from perdure.contract.retries import PATIENT_TRIES, repeated
from perdure.contract.waiting import all_of, first_of
from perdure.diagnostics.failures import timed_out
from perdure.errors import ActivityLeaseLost, ProviderError, StorageClosed
from perdure.model.details import (
    ApplicationFailure,
    ConfigurationFailure,
    ErrorDetails,
    Poisoned,
    Unregistered,
)
from perdure.model.message_ids import activity_result_id
from perdure.model.wire import ActivityData, ResultData, decode_activity, encode_result
from perdure.observe import ActivityEnded, ActivityStarted
from perdure.records.activities import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
)
from perdure.records.instances import Message, MessageKind, ParkedMark
from perdure.records.queries import WorkWait
from perdure.runtime.activity_context import ActivityContext, Cancellation
from perdure.runtime.activity_log import activity_fields, tell_failed, tell_given_up
from perdure.runtime.activity_task import ActivityTask
from perdure.runtime.attempt_limit import AttemptLimit
from perdure.runtime.background import log_breakage
from perdure.runtime.calling import ActivityCaller, FailedCall
from perdure.runtime.clock_trouble import ClockTrouble
from perdure.runtime.isolation_gate import RETURN_AFTER, SUSPECTED, AloneGate, suspicion
from perdure.runtime.observers import Observers
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.parkings import Parkings
from perdure.runtime.pausing import Pause
from perdure.runtime.renewal import ActivityKeeper, Keeper
from perdure.runtime.slots import Kind, Slots
from perdure.runtime.unserved import (
    UNREGISTERED,
    UnregisteredLooks,
    unregistered_since,
    unregistered_tag,
)

if TYPE_CHECKING:
    from perdure.client import Client
    from perdure.runtime.stalls import StallWatch

_LOGGER = logging.getLogger("perdure.runtime")
_BETWEEN_STORES = timedelta(seconds=5)
"""Between two rounds of tries to store a result."""
_LARGE = 16 * 1024
"""Bytes of what an activity was added with, from which on they are let go of early."""

BROKEN: Final = "broken"
"""The reason of the mark on an instance whose work met a defect of the runtime itself."""


def _log_what_breaks() -> None:
    """Log what the current task raises from here on; not before, for its steps are the hot path."""
    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(log_breakage)


def broke(error: Exception) -> str:
    """What the mark says of it. Its text is the log's: it may be anything."""
    return f"the runtime failed on it with {type(error).__name__}; the log has the trace"


WorkKey: TypeAlias = tuple[str, str, str]
"""An activity, whoever leases it: instance, incarnation, id."""


@dataclass(slots=True, eq=False)
class RunningActivity:
    """One activity in this process, from its lease until its result is stored."""

    leased: LeasedActivity
    lease: ActivityLease
    until: int
    key: WorkKey
    """Which activity it is."""
    began_at: int = 0
    """When it was taken up."""
    task: ActivityTask | None = None
    context: ActivityContext[object] | None = None
    wanted: bool = True
    """False once its result is of no use: cancelled, void, or its lease lost."""
    deadline: int | None = None
    """When the time of all its attempts is over: from then on a cancellation has no grace."""
    should_end: bool = False
    """Whether it was asked to end; its result is wanted all the same."""

    def adopt(self, leased: LeasedActivity) -> None:
        """Go on under another lease. How often it was delivered stays as it was: the process lives."""
        self.leased = replace(self.leased, token=leased.token, until=leased.until)
        self.lease = self.leased.lease
        self.until = leased.until


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedActivity:
    """A result whose lease still stands, to be consumed by a commit or sent as a message."""

    running: RunningActivity
    result: ResultData

    @property
    def leased(self) -> LeasedActivity:
        """The activity."""
        return self.running.leased

    @property
    def lease(self) -> ActivityLease:
        """The lease by name, as it is now."""
        return self.running.lease


ResultTaker = Callable[[FinishedActivity], bool]
"""Takes a result into a turn that is under way; False where there is none."""


class Activities:
    """The activities of one runtime."""

    def __init__(
        self,
        *,
        provider: Provider,
        catalog: Catalog,
        options: RuntimeOptions,
        observers: Observers,
        gate: AloneGate,
        parkings: Parkings,
        stalls: StallWatch,
        client: Client,
        resources: object,
    ) -> None:
        self._provider = provider
        self._catalog = catalog
        self._options = options
        self._observers = observers
        self._gate = gate
        self._parkings = parkings
        self._stalls = stalls
        self._client = client
        self._resources = resources
        self._caller = ActivityCaller(options)
        self._slots = Slots(catalog, options, lambda: self._caller.threads.abandoned)
        self._caller.threads.when_freed = lambda: self._slots.freed(Kind.BLOCKING)
        self._running: dict[ActivityLease, RunningActivity] = {}
        self._by_instance: dict[str, set[RunningActivity]] = defaultdict(set)
        self._handed_over: dict[ActivityLease, RunningActivity] = {}
        """Those whose result a turn has taken and not committed yet."""
        self._under_way: dict[WorkKey, RunningActivity] = {}
        """All of both."""
        self._cancellation_lock = threading.Lock()
        self._is_busy = asyncio.Event()
        self._durations: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._lease_token: str | None = None
        """Of a lease call that failed: what it leased is returned under its token (CALL-10)."""
        self.take_result: ResultTaker = lambda finished: False
        self.keeper: Keeper = ActivityKeeper(provider, self, options)
        self.clock_trouble = ClockTrouble(provider.clock, options.poll_interval)

    # For turns

    def reserve(self, names: Sequence[str]) -> list[bool]:
        """Take slots for activities that a commit adds already leased; says which got one."""
        if self._stopping or not self._gate.open:
            return [False] * len(names)
        return self._slots.reserve(names)

    def unreserve(self, names: Iterable[str]) -> None:
        """Give back slots for which there was no use."""
        for name in names:
            self._slots.give(name)

    def serves(self, name: str, tag: str | None) -> bool:
        """Whether this runtime runs such activities."""
        return name in self._catalog.activities and tag in self._options.tags

    def start_reserved(self, leased: Sequence[LeasedActivity]) -> None:
        """Run activities that a commit added already leased, in slots that were reserved."""
        for one in leased:
            if _key(one) in self._under_way:
                # It stood still for so long that its lease had expired, and was leased anew here.
                self._slots.give(one.name)
            elif self._stopping:
                self._slots.give(one.name)
                self._spawn(self._give_back(one))
            else:
                self._start(one)

    def soon_done(self, instance: str) -> bool:
        """Whether work of this instance is running here and is expected to finish soon."""
        limit = self._options.hold.total_seconds()
        return any(
            running.wanted
            and running.leased.delivery == 1
            and self._durations.get(running.leased.name, 0.0) <= limit
            for running in self._by_instance.get(instance, ())
        )

    def expect_soon(self, name: str) -> bool:
        """Whether activities of this name have finished soon so far."""
        return self._durations.get(name, 0.0) <= self._options.hold.total_seconds()

    def cancel(self, instance: str, activities: Iterable[str] | None = None) -> None:
        """Tell running activities of an instance, or some of them, that nobody wants them."""
        chosen = None if activities is None else set(activities)
        for running in tuple(self._by_instance.get(instance, ())):
            if chosen is None or running.leased.id in chosen:
                self._tell(running)

    def ask_to_end(self, instance: str, activities: Iterable[str]) -> None:
        """Tell running activities of an instance to end; their results are still wanted."""
        chosen = set(activities)
        for running in tuple(self._by_instance.get(instance, ())):
            if running.leased.id in chosen:
                running.should_end = True
                if running.context is not None:
                    running.context.cancellation.request()

    async def complete(self, finished: FinishedActivity) -> None:
        """Send a result as a message, in its own transaction. `ActivityLeaseLost` is final."""
        leased = finished.leased
        message = Message(
            id=activity_result_id(leased.id),
            instance=leased.instance,
            incarnation=leased.incarnation,
            execution=leased.execution,
            kind=MessageKind.ACTIVITY,
            data=encode_result(finished.result),
        )
        try:
            await self._store(finished, message)
        except ActivityLeaseLost:
            # Another delivery counts, nobody wants it, or an earlier try of this call succeeded.
            _LOGGER.debug("the result of %s was not wanted", leased.id)
            await self.account_for(finished.lease)
        except ProviderError:
            _LOGGER.exception(
                "the result of activity %s of instance %r could not be stored before the runtime"
                " ended; it will run again",
                leased.id,
                leased.instance,
                extra=activity_fields(leased),
            )
            # It ended no process, so it must not count as if it had.
            await self._give_back(finished.leased)
        finally:
            self.settled([finished.lease])
        self._provider.notifier.notify_turns(leased.instance)

    async def _store(self, finished: FinishedActivity, message: Message) -> None:
        """Store a result, in tries without end: to give the work back would have it done twice.

        Raises `ActivityLeaseLost` where it is not wanted, or another has taken the work over, and
        the storage's error where this runtime ends.
        """
        told = ""
        while True:
            completion = ActivityCompletion(lease=finished.lease, message=message)
            try:
                await repeated(
                    self._provider.clock,
                    lambda each=completion: self._provider.complete_activity(each),
                    tries=PATIENT_TRIES,
                )
            except ActivityLeaseLost:
                if finished.lease == completion.lease:
                    raise
                # It was leased anew by this runtime meanwhile.
            except ProviderError as error:
                if self._stopping or isinstance(error, StorageClosed):
                    raise
                if str(error) != told:
                    told = str(error)
                    _LOGGER.warning(
                        "the result of activity %s of instance %r could not be stored yet: %s",
                        finished.leased.id,
                        finished.leased.instance,
                        error,
                        extra=activity_fields(finished.leased),
                    )
                await self._provider.clock.sleep(_BETWEEN_STORES)
            else:
                self.clock_trouble.kept += 1
                return

    def settled(self, leases: Iterable[ActivityLease]) -> None:
        """Results that a turn had taken are stored, or void: their leases need no care any more."""
        for lease in leases:
            handed_over = self._handed_over.pop(lease, None)
            if handed_over is not None:
                self._not_under_way(handed_over)

    # For renewal

    def leases(self) -> list[tuple[ActivityLease, int]]:
        """The leases of everything that runs and is wanted, or is not stored yet, with their ends."""
        return [
            (lease, each.until)
            for kept in (self._running, self._handed_over)
            for lease, each in kept.items()
            if each.wanted
        ]

    async def running_for(self, at_least: timedelta) -> tuple[ActivityLease, ...]:
        """The leases of what runs, is wanted, and began so long ago; waits until anything runs."""
        if not self._running:
            self._is_busy.clear()
            await self._is_busy.wait()
        latest = self._provider.clock.now() - to_microseconds(at_least)
        return tuple(
            lease
            for lease, each in self._running.items()
            if each.wanted and each.began_at <= latest
        )

    def renewed(self, leases: Iterable[ActivityLease], until: int) -> None:
        """Note the new end of leases."""
        for lease in leases:
            running = self._running.get(lease) or self._handed_over.get(lease)
            if running is not None:
                running.until = until

    def lost(self, leases: Iterable[ActivityLease]) -> None:
        """Tell activities whose lease is gone."""
        gone = tuple(leases)
        self.settled(gone)
        for lease in gone:
            running = self._running.get(lease)
            if running is not None:
                self._tell(running)
            self._spawn(self.account_for(lease))

    async def account_for(self, lease: ActivityLease) -> None:
        """Say of a lease that is gone that no process ended under it.

        Where another process has taken the work over, that lease must not count towards poison.
        """
        try:
            await self._provider.release_activity(ActivityRelease(lease=lease, counted=False))
        except ProviderError as error:
            _LOGGER.debug("no account was given of %s: %s", lease.activity, error)

    # The queue

    async def dispatch(self) -> None:
        """Take activities from the queue for as long as the runtime runs.

        What no runtime has registered, or whose tag none serves, is parked, or in the end failed.
        """
        provider, options = self._provider, self._options
        pause = Pause(options.poll_interval)
        looks = UnregisteredLooks(provider.clock, options.unregistered_interval)
        troubles = 0
        with provider.notifier.subscribe_activities() as subscription:
            self._slots.when_freed = subscription.notify
            while True:
                await self._wait_for_slot()
                subscription.clear()
                # While a kind is full its names are left out, and would seem to be unregistered.
                unregistered_for = (
                    looks.unregistered_for() if self._slots.has_room_for_all else None
                )
                try:
                    if self.clock_trouble.times > troubles:
                        troubles = self.clock_trouble.times
                        await self.clock_trouble.pause()
                    if self.keeper.overdue:
                        await self.keeper.keep()
                    leased = await self._lease(unregistered_for)
                    served, started = self._take(leased, looks, unregistered_for)
                    # What was leased may carry much, and the next look may be late.
                    del leased
                except StorageClosed:
                    raise
                except ProviderError as error:
                    _LOGGER.warning("leasing activities failed: %s", error)
                    await provider.clock.sleep(timedelta(seconds=1))
                    continue
                if started:
                    pause.reset()
                elif served:
                    # It runs here already, so looking at once would find it again, where the
                    # clocks of two processes disagree by more than a lease.
                    await first_of(subscription.wait(), provider.clock.sleep(options.poll_interval))
                else:
                    await pause.wait(provider, subscription, self._work_wait())

    def _take(
        self,
        leased: Sequence[LeasedActivity],
        looks: UnregisteredLooks,
        unregistered_for: timedelta | None,
    ) -> tuple[int, int]:
        """Start what was leased; returns how much of it can be run here, and how much was begun."""
        served = [one for one in leased if one.served]
        started = [self._start_or_adopt(one) for one in served]
        if unregistered_for is not None:
            unregistered = [one for one in leased if not one.served]
            looks.saw((one.instance, one.id) for one in unregistered)
            for one in unregistered:
                self._spawn(self._handle_unregistered(one))
        return len(served), sum(started)

    # Its end

    def stop(self) -> None:
        """Begin nothing any more."""
        self._stopping = True

    def tasks(self) -> list[asyncio.Task[None]]:
        """Everything that is under way."""
        running = [running.task for running in self._running.values() if running.task]
        return [*running, *self._tasks]

    def cancel_running(self) -> None:
        """Tell and cancel every activity that runs; each gives its lease back."""
        for running in tuple(self._running.values()):
            if running.context is not None:
                running.context.cancellation.request()
            if running.task is not None:
                running.task.cancel()

    def close(self) -> None:
        """Let the threads end, those at work when their functions do."""
        self._caller.close()

    def __len__(self) -> int:
        return len(self._running)

    # Inside

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(log_breakage)

    async def _wait_for_slot(self) -> None:
        await self._slots.wait()
        while not self._gate.may_lease:
            await self._gate.until_may_lease()
            await self._slots.wait()

    def _work_wait(self) -> WorkWait:
        return WorkWait(
            timeout=timedelta(0),
            activity_names=self._slots.names_with_room,
            activity_tags=self._options.tags,
        )

    async def _lease(self, unregistered_for: timedelta | None) -> Sequence[LeasedActivity]:
        """Lease what there is room for."""
        slots, is_repeat = self._slots, self._lease_token is not None
        # What a call that failed has leased may be of any kind.
        room = slots.everything() if is_repeat or unregistered_for else slots.next_room()
        self._lease_token = self._lease_token or uuid.uuid4().hex
        with slots.asked_for(room):
            leased = await self._provider.lease_activities(
                ActivityRequest(
                    token=self._lease_token,
                    limit=room.limit,
                    lease_for=self._options.activity_lease,
                    names=room.names,
                    tags=self._options.tags,
                    unregistered_for=unregistered_for,
                )
            )
        self._lease_token = None
        slots.note_found(room, len(leased))
        return leased

    def _start_or_adopt(self, leased: LeasedActivity) -> bool:
        """Begin it, or where it is under way here let that go on; tells whether it began."""
        earlier = self._under_way.get(_key(leased))
        if earlier is None or not earlier.wanted:
            # What is not wanted any more was told so, and cannot be untold: it ends first.
            self._slots.take(leased.name)
            self._start(leased, after=None if earlier is None else earlier.task)
            return True
        _LOGGER.debug("activity %s of %r goes on under another lease", leased.id, leased.instance)
        self.clock_trouble.lost(leased.instance, earlier.until)
        kept = self._handed_over if earlier.lease in self._handed_over else self._running
        del kept[earlier.lease]
        self._spawn(self.account_for(earlier.lease))
        earlier.adopt(leased)
        kept[earlier.lease] = earlier
        return False

    def _start(self, leased: LeasedActivity, *, after: asyncio.Task[None] | None = None) -> None:
        lease = leased.lease
        key = _key(leased)
        running = self._running[lease] = self._under_way[key] = RunningActivity(
            leased, lease, leased.until, key, self._provider.clock.now()
        )
        self._is_busy.set()
        self._by_instance[leased.instance].add(running)
        if not self._stalls.is_armed:
            self._stalls.arm()
        running.task = ActivityTask(
            self._run(running, after),
            loop=asyncio.get_running_loop(),
            name=f"activity {leased.name!r} of {leased.instance!r}",
        )

    async def _run(self, running: RunningActivity, after: asyncio.Task[None] | None = None) -> None:
        try:
            if after is not None:
                await asyncio.wait([after])
            suspicious = running.leased.delivery > self._options.max_attempts
            if suspicious and not self.clock_trouble.is_recent:
                await self._run_suspicious(running)
            else:
                if self._gate.try_enter():
                    try:
                        await self._execute(running)
                    finally:
                        self._gate.leave()
                    return
                async with self._gate.entered() as may_begin:
                    if may_begin:
                        await self._execute(running)
                    else:
                        await self._give_back(running.leased)
        except asyncio.CancelledError:
            if running.wanted:  # the runtime is closing
                _log_what_breaks()
                await self._give_back(running.leased)
        except Exception as error:
            _log_what_breaks()
            leased = running.leased
            _LOGGER.exception(
                "activity %s of instance %r broke",
                leased.id,
                leased.instance,
                extra=activity_fields(leased),
            )
            await self._park(leased, BROKEN, broke(error))
        finally:
            self._forget(running)

    async def _run_suspicious(self, running: RunningActivity) -> None:
        """Blame it only after it ended the process once more while nothing ran beside it."""
        leased = running.leased
        if leased.delivery > self._options.max_attempts + 1:
            poisoned = Poisoned(work=f"activity {leased.name!r}", attempts=leased.delivery - 1)
            details = ApplicationFailure(poisoned)
            tell_given_up(leased, details)
            await self._finish(running, details, _event_number(leased))
            return
        async with self._gate.alone() as alone:
            if alone:
                await self._execute(running)
            else:
                why = suspicion(leased.delivery - 1)
                await self._park(running.leased, SUSPECTED, why, delay=RETURN_AFTER)

    async def _execute(self, running: RunningActivity) -> None:
        leased = running.leased
        definition = self._catalog.activities[leased.name]
        try:
            data = decode_activity(leased.data)
        except ValueError as error:
            await self._park(leased, "undecodable", f"activity {leased.id}: {error}")
            return
        context = running.context = self._context(leased, data)
        if running.should_end:
            context.cancellation.request()
        running.deadline = data.deadline
        text = [data.input]
        if len(leased.data) >= _LARGE:
            # Held as long as the function runs, and needed no more: what it is called with counts.
            running.leased = leased = replace(leased, data=b"")
            data = replace(data, input="")
        if not running.wanted:
            return
        if self._observers:
            self._observers.tell(
                ActivityStarted(
                    at=self._provider.clock.now(),
                    instance=leased.instance,
                    activity=leased.id,
                    name=leased.name,
                    attempt=data.attempt,
                    delivery=leased.delivery,
                )
            )
        began = self._provider.clock.now()
        outcome = await self._call(definition, text, data.timeout, context)
        self._learn(leased.name, began)
        if isinstance(outcome, FailedCall):
            tell_failed(leased, data, outcome, wanted=running.wanted)
            outcome = outcome.details
        await self._finish(running, outcome, data.event)

    async def _call(
        self,
        definition: ActivityDefinition,
        text: list[str],
        timeout: timedelta | None,
        context: ActivityContext[object],
    ) -> str | FailedCall:
        if timeout is None:
            return await self._caller.call(definition, text, context)
        clock, tell = self._provider.clock, context.cancellation.request
        with AttemptLimit(clock, timeout, tell=tell):
            return await self._caller.call(definition, text, context)
        return FailedCall(timed_out("attempt_timeout", retryable=True))

    async def _finish(
        self, running: RunningActivity, outcome: str | ErrorDetails, event: int
    ) -> None:
        failed = not isinstance(outcome, str)
        if self._observers:
            self._tell_end(running, "failed" if failed else "completed")
        if not running.wanted:
            return
        finished = FinishedActivity(
            running=running,
            result=ResultData(scheduled=event, details=outcome)
            if failed
            else ResultData(scheduled=event, result=outcome),
        )
        if self.take_result(finished):
            self._handed_over[running.lease] = running
            self._forget(running)
        else:
            # It keeps its lease and its place until it is stored: a slow storage must neither
            # cost a result that is there, nor be given more to do meanwhile.
            await self.complete(finished)

    def _tell(self, running: RunningActivity) -> None:
        """Say that the result is not wanted; after the grace period, cancel."""
        if not running.wanted:
            return
        running.wanted = False
        if running.context is not None:
            running.context.cancellation.request()
        self._spawn(self._cancel_later(running))

    async def _cancel_later(self, running: RunningActivity) -> None:
        # A thread cannot be stopped: its slot stays taken, and its result is dropped, at its end.
        if running.task is None or self._slots.kind(running.leased.name) is Kind.BLOCKING:
            return
        grace = timedelta(0) if self._stopping else self._grace(running)
        await first_of(all_of([running.task]), self._provider.clock.sleep(grace))
        if not running.task.done():
            self._tell_end(running, "cancelled")
            running.task.cancel()

    def _grace(self, running: RunningActivity) -> timedelta:
        if running.deadline is not None and self._provider.clock.now() >= running.deadline:
            return timedelta(0)
        own = self._catalog.activities[running.leased.name].cancel_grace
        return self._options.cancel_grace if own is None else own

    def _tell_end(self, running: RunningActivity, outcome: str) -> None:
        if self._observers:
            leased = running.leased
            self._observers.tell(
                ActivityEnded(
                    at=self._provider.clock.now(),
                    instance=leased.instance,
                    activity=leased.id,
                    name=leased.name,
                    outcome=outcome,
                )
            )

    def _forget(self, running: RunningActivity) -> None:
        leased = running.leased
        if self._running.pop(running.lease, None) is None:
            return
        if running.lease not in self._handed_over:
            self._not_under_way(running)
        others = self._by_instance[leased.instance]
        others.discard(running)
        if not others:
            del self._by_instance[leased.instance]
        self._slots.give(leased.name)

    def _not_under_way(self, running: RunningActivity) -> None:
        if self._under_way.get(running.key) is running:
            del self._under_way[running.key]

    def _learn(self, name: str, began: int) -> None:
        took = max(0, self._provider.clock.now() - began) / 1_000_000
        known = self._durations.get(name)
        self._durations[name] = took if known is None else 0.7 * known + 0.3 * took

    def _context(self, leased: LeasedActivity, data: ActivityData) -> ActivityContext[object]:
        return ActivityContext(
            instance=leased.instance,
            execution=leased.execution,
            activity_id=leased.id,
            name=leased.name,
            attempt=data.attempt,
            delivery=leased.delivery,
            idempotency_key=f"{leased.incarnation}:{leased.execution}:{data.first}",
            client=self._client,
            resources=self._resources,
            cancellation=Cancellation(self._cancellation_lock),
        )

    async def _handle_unregistered(self, leased: LeasedActivity) -> None:
        is_tag_served = leased.tag in self._options.tags
        if await self._has_waited_too_long(leased):
            kind = Unregistered(
                what="activity",
                name=leased.name,
                activity_tag=None if is_tag_served else leased.tag,
            )
            details = ConfigurationFailure(kind)
            tell_given_up(leased, details)
            result = ResultData(scheduled=_event_number(leased), details=details)
            running = RunningActivity(leased, leased.lease, leased.until, _key(leased))
            await self.complete(FinishedActivity(running=running, result=result))
        else:
            if is_tag_served:
                why = f"activity {leased.name!r} is not registered in this runtime"
            else:
                why = unregistered_tag(leased.name, leased.tag, self._options.tags)
            # Without a delay, so that a runtime that runs it takes it at once.
            await self._park(leased, UNREGISTERED, why, delay=timedelta(0))

    async def _has_waited_too_long(self, leased: LeasedActivity) -> bool:
        limit = self._options.unregistered_timeout
        if limit is None:
            return False
        latest = self._provider.clock.now() - to_microseconds(limit)
        if leased.added_at >= latest:
            return False
        try:
            state = await self._provider.read_instance(leased.instance)
        except ProviderError as error:
            _LOGGER.warning(
                "unregistered activity of instance %r: %s",
                leased.instance,
                error,
                extra=activity_fields(leased),
            )
            return False
        since = None if state is None else unregistered_since(state)
        return since is not None and since < latest

    async def _park(
        self,
        leased: LeasedActivity,
        reason: str,
        details: str,
        *,
        delay: timedelta = timedelta(seconds=30),
    ) -> None:
        await self._give_back(
            leased,
            delay=delay,
            parked=self._parkings.mark(leased.instance, reason, details),
        )
        self._provider.notifier.notify_instance(leased.instance)

    async def _give_back(
        self,
        leased: LeasedActivity,
        *,
        delay: timedelta = timedelta(0),
        parked: ParkedMark | None = None,
    ) -> None:
        release = ActivityRelease(lease=leased.lease, delay=delay, counted=False, parked=parked)
        try:
            await repeated(
                self._provider.clock,
                lambda: self._provider.release_activity(release),
                tries=PATIENT_TRIES,
            )
        except ProviderError as error:
            _LOGGER.warning(
                "activity %s was not given back: %s",
                leased.id,
                error,
                extra=activity_fields(leased),
            )
        self._provider.notifier.notify_activities()


def _key(leased: LeasedActivity) -> WorkKey:
    return (leased.instance, leased.incarnation, leased.id)


def _event_number(leased: LeasedActivity) -> int:
    """The schedule event, from the id that the engine gave: `execution:event`."""
    return int(leased.id.rpartition(":")[2])
