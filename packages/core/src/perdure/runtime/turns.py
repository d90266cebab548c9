"""Leases instances that are ready and runs their turns, many at once, each by an `InstanceRun`.

Holds what the runs share: the cache of live executions, the account of parked instances, and who
runs what. Instances that cannot be run here, or that ended their process too often, are dealt
with here too, without running their code.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from perdure.authoring.registry import Catalog
from perdure.clock import to_microseconds
from perdure.contract.provider import Provider
from perdure.diagnostics.logs import of_instance
from perdure.errors import LeaseLost, ProviderError, StorageClosed
from perdure.history import Event
from perdure.model.details import (
    ApplicationFailure,
    ConfigurationFailure,
    ErrorDetails,
    Poisoned,
    Unregistered,
)
from perdure.records.instances import InstanceState, MessageKind, ParkedMark
from perdure.records.queries import WorkWait
from perdure.records.turns import (
    LeasedTurn,
    Serves,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)
from perdure.runtime.activities import Activities, FinishedActivity
from perdure.runtime.cache import ExecutionCache
from perdure.runtime.commits import Position
from perdure.runtime.differing import DifferingValues
from perdure.runtime.histories import read_history
from perdure.runtime.instance_run import InstanceRun
from perdure.runtime.isolation_gate import RETURN_AFTER, SUSPECTED, AloneGate, suspicion
from perdure.runtime.observers import Observers
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.parkings import Parkings
from perdure.runtime.pausing import Pause
from perdure.runtime.payload_budget import PayloadBudget
from perdure.runtime.renewal import Keeper, TurnKeeper
from perdure.runtime.stepping import run_outside_tasks
from perdure.runtime.unserved import UNREGISTERED, UnregisteredLooks, unregistered_since
from perdure.runtime.without_code import HeldInstance, end_without_code, parked_and_cancelled

if TYPE_CHECKING:
    from perdure.runtime.stalls import StallWatch

_LOGGER = logging.getLogger("perdure.runtime")
_LARGEST_LEASE_CALL = 100


class Turns:
    """The turns of one runtime."""

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
        activities: Activities,
    ) -> None:
        self.provider = provider
        self.catalog = catalog
        self.options = options
        self.observers = observers
        self.activities = activities
        self.parkings = parkings
        self.cache = ExecutionCache(options.cache_size)
        self.payload_budget = PayloadBudget()
        self.stopping = False
        self.turns_committed = 0
        self.histories_read = 0
        self._gate = gate
        self._stalls = stalls
        # Unique without asking the system for randomness at every commit.
        self._id_prefix = uuid.uuid4().hex
        self._id_numbers = itertools.count()
        self._lease_token: str | None = None
        """Of a lease call that failed: what it leased is returned under its token (CALL-10)."""
        self._serves = Serves(orchestrations=catalog.versions())
        self._runs: dict[str, InstanceRun] = {}
        self._tasks: dict[InstanceRun | str, asyncio.Task[None]] = {}
        self.differing_values = DifferingValues(provider.clock, observers)
        self._looks = UnregisteredLooks(provider.clock, options.unregistered_interval)
        self._freed = asyncio.Event()
        self._waiting = asyncio.Event()
        self.clock_trouble = activities.clock_trouble
        self.keeper: Keeper = TurnKeeper(provider, self, options)
        activities.take_result = self._take_result

    # For runs

    async def read_history(self, state: InstanceState) -> list[Event]:
        """The history of the current execution; raises `UndecodableData`."""
        self.histories_read += 1
        return await read_history(self.provider, state)

    def new_id(self) -> str:
        """An id that nobody else has: for a commit, a token."""
        return f"{self._id_prefix}-{next(self._id_numbers)}"

    def note_commit(self, commit: TurnCommit) -> None:
        """A commit was confirmed: the instance is parked no longer."""
        self.turns_committed += 1
        self.clock_trouble.kept += 1
        self.parkings.moved(commit.instance)

    def someone_waits(self) -> None:
        """A run keeps its lease without work in hand; `let_go_of_idle` looks after it."""
        self._waiting.set()

    # For renewal

    def leases(self) -> list[InstanceRun]:
        """The runs that hold a lease."""
        return list(self._runs.values())

    def __len__(self) -> int:
        return len(self._tasks)

    # Loops

    async def dispatch(self) -> None:
        """Lease what is ready and run it, for as long as the runtime runs.

        What no runtime has registered is parked, or in the end failed.
        """
        pause = Pause(self.options.poll_interval)
        looks = self._looks
        wait = WorkWait(timeout=timedelta(0), serves=self._serves)
        troubles = 0
        notifier = self.provider.notifier
        with (
            notifier.subscribe_turns() as subscription,
            notifier.subscribe_messages(self._message_arrived),
        ):
            while True:
                await self._wait_for_slot()
                subscription.clear()
                unregistered_for = looks.unregistered_for()
                try:
                    if self.clock_trouble.times > troubles:
                        troubles = self.clock_trouble.times
                        await self.clock_trouble.pause()
                    if self.keeper.overdue:
                        await self.keeper.keep()
                    found_work = self._take(await self._lease(unregistered_for), unregistered_for)
                except StorageClosed:
                    raise
                except ProviderError as error:
                    _LOGGER.warning("leasing turns failed: %s", error)
                    await self.provider.clock.sleep(timedelta(seconds=1))
                    continue
                if found_work:
                    pause.reset()
                else:
                    await pause.wait(self.provider, subscription, wait)

    async def let_go_of_idle(self) -> None:
        """Give back leases that were kept for work which did not finish soon after all."""
        hold = self.options.hold
        while True:
            await self._waiting.wait()
            await self.provider.clock.sleep(hold / 2)
            now = self.provider.clock.now()
            limit = now - to_microseconds(hold)
            waiting = [run for run in self._runs.values() if run.waiting_since is not None]
            for run in waiting:
                # A clock that stepped back must not keep a lease for as long as it stepped.
                if run.waiting_since is not None and not limit < run.waiting_since <= now:
                    run.let_go()
            if not waiting:
                self._waiting.clear()

    def stop(self) -> None:
        """Keep no lease any longer than the turn that is under way."""
        self.stopping = True
        for run in tuple(self._runs.values()):
            run.let_go()

    def tasks(self) -> list[asyncio.Task[None]]:
        """Everything that is under way."""
        return list(self._tasks.values())

    def cancel_running(self) -> None:
        """Cancel every turn that is under way; each gives its lease back."""
        for key, task in tuple(self._tasks.items()):
            if isinstance(key, InstanceRun):
                task.cancel()

    async def clear(self) -> None:
        """Free every execution in memory."""
        for execution in self.cache.clear():
            await run_outside_tasks(execution.discard)

    # Inside

    def _free(self) -> int:
        return self.options.max_concurrent_turns - len(self._tasks)

    async def _wait_for_slot(self) -> None:
        while self._free() <= 0 or not self._gate.may_lease:
            await self._gate.until_may_lease()
            while self._free() <= 0:
                self._freed.clear()
                await self._freed.wait()

    async def _lease(self, unregistered_for: timedelta | None) -> Sequence[LeasedTurn]:
        self._lease_token = self._lease_token or self.new_id()
        leased = await self.provider.lease_turns(
            TurnRequest(
                token=self._lease_token,
                limit=min(self._free(), _LARGEST_LEASE_CALL),
                lease_for=self.options.turn_lease,
                serves=self._serves,
                unregistered_for=unregistered_for,
            )
        )
        self._lease_token = None
        return leased

    def _take(self, leased: Sequence[LeasedTurn], unregistered_for: timedelta | None) -> bool:
        """Start what was leased; returns whether any of it can be run here."""
        for one in leased:
            self._start(one)
        if unregistered_for is not None:
            self._looks.saw(one.state.instance for one in leased if not one.served)
        return any(one.served for one in leased)

    def _start(self, leased: LeasedTurn) -> None:
        if not leased.served:
            self._spawn(leased.token + leased.state.instance, self._handle_unregistered(leased))
            return
        alone = leased.attempt > self.options.max_attempts and not self.clock_trouble.is_recent
        instance = leased.state.instance
        run = InstanceRun(self, leased, alone=alone)
        previous = self._runs.get(instance)
        if previous is not None:
            # The earlier lease was given back just now, or it had expired and this one took it
            # over. Either way that run comes to its end, and this one goes on from there.
            previous.let_go()
        before = None if previous is None else self._tasks.get(previous)
        self._runs[instance] = run
        if leased.messages and not alone:
            # The run has them, and drops each when it is read.
            leased = replace(leased, messages=())
        self._spawn(run, self._run(run, leased, before, alone=alone))

    def _spawn(self, key: InstanceRun | str, work: Coroutine[Any, Any, None]) -> None:
        instance = key.state.instance if isinstance(key, InstanceRun) else key
        if not self._stalls.is_armed:
            self._stalls.arm()
        task = asyncio.create_task(work, name=f"a turn of {instance!r}")
        self._tasks[key] = task
        task.add_done_callback(lambda ended: self._ended(key, ended))

    def _ended(self, key: InstanceRun | str, ended: asyncio.Task[None]) -> None:
        del self._tasks[key]
        self._freed.set()
        if not ended.cancelled() and (error := ended.exception()) is not None:
            _LOGGER.error("a turn broke; its lease runs out", exc_info=error)

    async def _run(
        self,
        run: InstanceRun,
        leased: LeasedTurn,
        before: asyncio.Task[None] | None,
        *,
        alone: bool,
    ) -> None:
        instance = leased.state.instance
        try:
            if before is not None:
                # One run at a time touches an execution; the earlier one puts it in the cache.
                await asyncio.wait([before])
            if not alone:
                if self._gate.try_enter():
                    try:
                        await run.run()
                    finally:
                        self._gate.leave()
                    return
                async with self._gate.entered() as may_begin:
                    await (run.run() if may_begin else run.give_back())
            elif leased.attempt > self.options.max_attempts + 1:
                await self._fail_poisoned(leased)
            elif cancelled := parked_and_cancelled(leased.state, SUSPECTED, leased.messages):
                await self._end(leased, cancelled)
            else:
                async with self._gate.alone() as is_alone:
                    if is_alone:
                        await run.run()
                    else:
                        why = suspicion(leased.attempt - 1)
                        await self._park(leased, SUSPECTED, why, delay=RETURN_AFTER)
        except ProviderError as error:
            fields = of_instance(instance)
            _LOGGER.warning("the lease of %r was not given back: %s", instance, error, extra=fields)
        except asyncio.CancelledError:
            if not run.has_begun:
                await run.give_back()
            raise
        finally:
            if self._runs.get(instance) is run:
                del self._runs[instance]

    def _take_result(self, finished: FinishedActivity) -> bool:
        run = self._runs.get(finished.leased.instance)
        return run is not None and run.take_result(finished)

    def _message_arrived(self, instance: str) -> None:
        self._looks.message_arrived(instance)
        run = self._runs.get(instance)
        if run is not None:
            run.message_arrived()

    async def _handle_unregistered(self, leased: LeasedTurn) -> None:
        state = leased.state
        now = self.provider.clock.now()
        since, limit = unregistered_since(state) or now, self.options.unregistered_timeout
        cancelled = parked_and_cancelled(state, UNREGISTERED, leased.messages)
        if cancelled is not None:
            await self._end(leased, cancelled)
            return
        try:
            if limit is not None and now - since > to_microseconds(limit):
                kind = Unregistered(what="orchestration", name=state.name, version=state.version)
                await self._end(leased, ConfigurationFailure(kind))
                return
            of = f" version {state.version}" if state.version else ""
            details = f"orchestration {state.name!r}{of} is not registered in this runtime"
            # Without a delay, so that a runtime that has it takes it at once.
            await self._park(leased, UNREGISTERED, details)
        except ProviderError as error:
            fields = of_instance(state.instance)
            _LOGGER.warning("unregistered instance %r: %s", state.instance, error, extra=fields)

    async def _park(
        self, leased: LeasedTurn, reason: str, details: str, *, delay: timedelta = timedelta(0)
    ) -> None:
        """Give it back, marked; that is told where the mark is new."""
        state = leased.state
        told = state.parked is not None and state.parked.reason == reason
        mark = self.parkings.mark(state.instance, reason, details, told=told)
        await self._release(leased, delay=delay, parked=mark)

    async def _fail_poisoned(self, leased: LeasedTurn) -> None:
        head = leased.messages[0].kind if leased.messages else MessageKind.START
        poisoned = Poisoned(
            work=f"the turn of {leased.state.name!r} on a message of kind {head}",
            attempts=leased.attempt - 1,
        )
        await self._end(leased, ApplicationFailure(poisoned))

    async def _end(self, leased: LeasedTurn, details: ErrorDetails) -> None:
        """End the instance as Failed without running its code."""
        held = HeldInstance(
            state=leased.state,
            position=Position.of(leased.state),
            token=leased.token,
            messages=leased.messages,
        )
        try:
            await end_without_code(self, held, details)
        except ProviderError as error:
            if isinstance(error, LeaseLost):
                self.clock_trouble.lost(leased.state.instance, leased.until)
            else:
                instance = leased.state.instance
                fields = of_instance(instance)
                _LOGGER.warning("instance %r could not be ended: %s", instance, error, extra=fields)
            with suppress(ProviderError):
                await self._release(leased, delay=RETURN_AFTER)

    async def _release(
        self,
        leased: LeasedTurn,
        *,
        delay: timedelta = timedelta(0),
        parked: ParkedMark | None = None,
    ) -> None:
        lease = TurnLease(instance=leased.state.instance, token=leased.token)
        await self.provider.release_turn(
            TurnRelease(lease=lease, delay=delay, counted=False, parked=parked)
        )
        if parked is not None:
            self.provider.notifier.notify_instance(leased.state.instance)
