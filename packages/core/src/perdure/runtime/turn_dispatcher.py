"""Leases instances that are ready and runs their turns, many at once, each as a `LeasedInstance`.

Instances that cannot run here, or that ended their process too often, are parked or failed here
without running their code.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from perdure.authoring.catalog import Catalog
from perdure.clock import to_microseconds
from perdure.model.details import ApplicationFailure, ConfigurationFailure, Poisoned, Unregistered
from perdure.model.parked_reasons import SUSPECTED, UNREGISTERED
from perdure.records.instances import MessageKind
from perdure.records.queries import WorkWait
from perdure.records.turns import LeasedTurn, Serves, TurnRequest
from perdure.runtime.bytes_in_flight import counted
from perdure.runtime.held_instance import HeldInstance
from perdure.runtime.isolation_gate import RETURN_AFTER, IsolationGate
from perdure.runtime.leased_instance import LeasedInstance
from perdure.runtime.parking import parked_and_cancelled, suspected, unregistered_since
from perdure.runtime.polling import Found, LeaseLoop, UnregisteredLooks
from perdure.runtime.turn_leases import TurnLeases, TurnRenewal
from perdure.runtime.turn_services import TurnServices
from perdure.runtime.turn_store import fail, give_back, park

if TYPE_CHECKING:
    from perdure.runtime.stall_watch import StallWatch

_LOGGER = logging.getLogger("perdure.runtime")
_LARGEST_LEASE_CALL = 16
"""Few enough that the runtimes of a storage share what is ready; a busy one leases again and again."""


class TurnDispatcher:
    """The turns of one runtime."""

    what: ClassVar[str] = "turns"
    may_ask_for_unregistered = True

    def __init__(
        self,
        services: TurnServices,
        *,
        catalog: Catalog,
        leases: TurnLeases,
        gate: IsolationGate,
        stalls: StallWatch,
    ) -> None:
        self._services = services
        self._provider = services.provider
        self._options = services.options
        self._in_flight = services.in_flight
        self._leases = leases
        self._gate = gate
        self._stalls = stalls
        self._serves = Serves(orchestrations=catalog.versions())
        self._tasks: dict[asyncio.Task[None], LeasedInstance | None] = {}
        """None for a task that parks or fails what is not registered here."""
        self._freed = asyncio.Event()
        self._in_flight.when_freed = self._freed.set
        self._looks = UnregisteredLooks(self._provider.clock, self._options.unregistered_interval)
        self.renewal = TurnRenewal(self._provider, leases, self._options)
        self._loop = LeaseLoop(
            self,
            provider=self._provider,
            options=self._options,
            renewal=self.renewal,
            skew=services.skew,
            looks=self._looks,
        )

    def __len__(self) -> int:
        """How many instances are held."""
        return len(self._tasks)

    # The loop

    async def dispatch(self) -> None:
        """Lease what is ready and run it, for as long as the runtime runs.

        What no runtime has registered is parked, or in the end failed.
        """
        notifier = self._provider.notifier
        with (
            notifier.subscribe_turns() as subscription,
            notifier.subscribe_messages(self._message_arrived),
        ):
            await self._loop.run(subscription)

    async def wait_for_room(self) -> None:
        """Return when a turn could begin."""
        while self._room() <= 0 or not self._gate.may_lease:
            await self._gate.until_may_lease()
            while self._room() <= 0:
                self._freed.clear()
                await self._freed.wait()

    def work_wait(self) -> WorkWait:
        """What to wait for after a look that found nothing."""
        return WorkWait(timeout=timedelta(0), serves=self._serves)

    async def look(
        self, token: str, unregistered_for: timedelta | None, *, is_repeat: bool
    ) -> Found:
        """Lease instances that are ready, and begin their turns."""
        del is_repeat  # a call that failed has leased the same kind of work
        limit = max(1, min(self._room(), _LARGEST_LEASE_CALL))
        with self._in_flight.asked_for(limit):
            leased = await self._provider.lease_turns(
                TurnRequest(
                    token=token,
                    limit=limit,
                    lease_for=self._options.turn_lease,
                    serves=self._serves,
                    unregistered_for=unregistered_for,
                )
            )
        started = self._start_served([one for one in leased if one.served])
        if unregistered_for is not None:
            unregistered = [one for one in leased if not one.served]
            self._looks.saw(one.state.instance for one in unregistered)
            for one in unregistered:
                self._begin(self._handle_unregistered(one), one.state.instance, None)
        self._services.executions.make_room()
        if not started:
            return Found.NOTHING
        return Found.LAST_WORK if started == len(leased) < limit else Found.WORK

    def _start_served(self, leased: Sequence[LeasedTurn]) -> int:
        """Begin the turns that have room, and give the others back; tells how many have begun."""
        sizes = [counted(sum(len(message.data) for message in one.messages)) for one in leased]
        self._in_flight.found(sizes)
        started = 0
        for one, size in zip(leased, sizes, strict=True):
            if self._in_flight.fits(size):
                self._start(one, size)
                started += 1
            else:
                giving_back = give_back(self._services, HeldInstance.of(one))
                self._begin(giving_back, one.state.instance, None)
        return started

    def _room(self) -> int:
        return min(self._options.max_concurrent_turns - len(self._tasks), self._in_flight.room)

    def _message_arrived(self, instance: str) -> None:
        self._looks.message_arrived(instance)
        self._leases.message_arrived(instance)

    # The end

    def stop(self) -> None:
        """Keep no lease any longer than the turn that is under way."""
        self._services.is_stopping = True
        self._leases.let_go()

    def tasks(self) -> list[asyncio.Task[None]]:
        """Everything that is under way."""
        return list(self._tasks)

    def cancel_running(self) -> None:
        """Cancel every turn that is under way; each gives its lease back."""
        for task, instance in tuple(self._tasks.items()):
            if instance is not None:
                task.cancel()

    # Starting a leased instance

    def _start(self, leased: LeasedTurn, in_flight: int) -> None:
        is_suspected = (
            leased.attempt > self._options.max_attempts and not self._services.skew.is_recent
        )
        instance = LeasedInstance(
            self._services, leased, in_flight=in_flight, isolated=is_suspected
        )
        earlier = self._leases.begin(instance)
        before = None if earlier is None else earlier.task
        if is_suspected:
            work = self._run_suspected(instance, leased, before)
        else:
            work = self._run(instance, before)
        instance.task = self._begin(work, leased.state.instance, instance)

    def _begin(
        self, work: Coroutine[Any, Any, None], name: str, instance: LeasedInstance | None
    ) -> asyncio.Task[None]:
        if not self._stalls.is_armed:
            self._stalls.arm()
        task = asyncio.create_task(work, name=f"a turn of {name!r}")
        self._tasks[task] = instance
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._freed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOGGER.error("a turn broke; its lease runs out", exc_info=error)

    async def _run(self, instance: LeasedInstance, before: asyncio.Task[None] | None) -> None:
        try:
            if before is not None:
                # One lease at a time touches an execution; the earlier one caches it.
                await asyncio.wait([before])
            if self._gate.try_enter():
                try:
                    await instance.run()
                finally:
                    self._gate.leave()
                return
            async with self._gate.entered() as may_begin:
                await (instance.run() if may_begin else instance.give_back())
        except asyncio.CancelledError:
            await self._give_back_unbegun(instance)
            raise
        finally:
            self._leases.end(instance)

    async def _run_suspected(
        self,
        instance: LeasedInstance,
        leased: LeasedTurn,
        before: asyncio.Task[None] | None,
    ) -> None:
        """Blame it only after it ended the process once more with nothing beside it."""
        services, held = self._services, instance.held
        try:
            if before is not None:
                await asyncio.wait([before])
            if leased.attempt > self._options.max_attempts + 1:
                await fail(services, held, leased.messages, _poisoned(leased))
            elif cancelled := parked_and_cancelled(leased.state, SUSPECTED, leased.messages):
                await fail(services, held, leased.messages, cancelled)
            else:
                async with self._gate.isolated() as is_isolated:
                    if is_isolated:
                        await instance.run()
                    else:
                        # Not tried again: other work waits until it is away.
                        why, delay = suspected(leased.attempt - 1), RETURN_AFTER
                        await park(
                            services, held, SUSPECTED, why, delay=delay, is_reported=True, tries=1
                        )
        except asyncio.CancelledError:
            await self._give_back_unbegun(instance)
            raise
        finally:
            self._leases.end(instance)

    async def _give_back_unbegun(self, instance: LeasedInstance) -> None:
        if not instance.has_begun:
            await instance.give_back()

    # What is not registered here

    async def _handle_unregistered(self, leased: LeasedTurn) -> None:
        services, state, held = self._services, leased.state, HeldInstance.of(leased)
        cancelled = parked_and_cancelled(state, UNREGISTERED, leased.messages)
        if cancelled is not None:
            await fail(services, held, leased.messages, cancelled)
            return
        now, limit = self._provider.clock.now(), self._options.unregistered_timeout
        since = unregistered_since(state) or now
        if limit is not None and now - since > to_microseconds(limit):
            kind = Unregistered(what="orchestration", name=state.name, version=state.version)
            await fail(services, held, leased.messages, ConfigurationFailure(kind))
            return
        of = f" version {state.version}" if state.version else ""
        details = f"orchestration {state.name!r}{of} is not registered in this runtime"
        # Without a delay, so that a runtime that has it takes it at once.
        await park(services, held, UNREGISTERED, details, delay=timedelta(0), is_reported=True)


def _poisoned(leased: LeasedTurn) -> ApplicationFailure:
    head = leased.messages[0].kind if leased.messages else MessageKind.START
    work = f"the turn of {leased.state.name!r} on a message of kind {head}"
    return ApplicationFailure(Poisoned(work=work, attempts=leased.attempt - 1))
