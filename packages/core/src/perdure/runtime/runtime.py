"""The runtime: runs orchestrations and activities inside the user's own process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from perdure.authoring.registry import Catalog, Registry
from perdure.authoring.startup import refuse_unusable
from perdure.client import Client
from perdure.contract.provider import Provider, check_provider
from perdure.errors import ClientUnusable, PerdureError, ProviderError, StorageClosed
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.settings import require
from perdure.runtime.activities import Activities
from perdure.runtime.cancellation_watch import CancellationWatch
from perdure.runtime.ending import Ending
from perdure.runtime.guarding import GuardedProvider
from perdure.runtime.isolation_gate import AloneGate
from perdure.runtime.observers import Observers
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.parkings import Parkings
from perdure.runtime.stalls import StallWatch
from perdure.runtime.turns import Turns

_LOGGER = logging.getLogger("perdure.runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeStatistics:
    """What a runtime holds now and has done so far."""

    live_executions: int
    """Kept in memory between turns; never more than `cache_size`."""
    turns_running: int
    activities_running: int
    turns_committed: int
    histories_read: int
    """How often an execution was rebuilt from its history."""


class Runtime:
    """Runs what is registered, on what the provider stores, for as long as its block lasts.

        async with Runtime(provider, app) as runtime: ...

    Several runtimes may share a provider or a storage, in one process or in many. On leaving,
    it stops leasing, lets turns commit and activities go on for `shutdown_grace`, and gives every
    lease back, so that another runtime takes over at once. It is gone a second later at the
    latest, whatever hangs; where the leaving is cancelled, the grace period ends at once.
    `resources` is what activities find in their context (a pool, a session). `plugins` may
    implement `perdure_observe`.

    Raises `NondeterministicCode` where an orchestration calls a registered activity directly.
    Entering raises what a call to the storage raises that is no passing trouble, `StorageClosed`
    where the provider is not open. Where the provider is closed under it, the runtime cancels the
    block that it serves, and leaving it raises `StorageClosed`.
    """

    def __init__(
        self,
        provider: Provider,
        *registries: Registry,
        resources: object = None,
        plugins: Sequence[object] = (),
        options: RuntimeOptions | None = None,
    ) -> None:
        refuse_inside_orchestration("Runtime", "start it in the application")
        if options is None:
            options = RuntimeOptions()
        self._options = require(options, RuntimeOptions, "options", "pass RuntimeOptions(…)")
        self._provider = guarded = GuardedProvider(check_provider(provider))
        self._catalog = Catalog(registries)
        refuse_unusable(self._catalog)
        observers = Observers(plugins)
        parkings = Parkings(provider.clock, observers)
        self._gate = AloneGate(provider.clock)
        self._stalls = StallWatch(self._options, self._is_busy)
        self._activities = Activities(
            provider=guarded,
            catalog=self._catalog,
            options=self._options,
            observers=observers,
            gate=self._gate,
            parkings=parkings,
            stalls=self._stalls,
            client=Client(provider),
            resources=resources,
        )
        self._turns = Turns(
            provider=guarded,
            catalog=self._catalog,
            options=self._options,
            observers=observers,
            gate=self._gate,
            parkings=parkings,
            stalls=self._stalls,
            activities=self._activities,
        )
        self._watch = CancellationWatch(guarded, self._activities, self._options.poll_interval)
        self._ending = Ending(
            provider.clock, self._options.shutdown_grace, self._turns, self._activities
        )
        self._leasing: list[asyncio.Task[None]] = []
        self._caring: list[asyncio.Task[None]] = []
        self._entered = False
        self._block: asyncio.Task[object] | None = None
        """The task that entered."""
        self._closed: StorageClosed | None = None
        """Why the runtime stopped by itself."""

    async def __aenter__(self) -> Self:
        if self._entered:
            raise PerdureError("this runtime was started before; make a new one")
        self._entered = True
        await self._try_storage()
        self._block = asyncio.current_task()
        turns, activities = self._turns, self._activities
        self._leasing = self._start(turns.dispatch, activities.dispatch)
        self._caring = self._start(
            turns.let_go_of_idle,
            turns.keeper.keep_for_ever,
            activities.keeper.keep_for_ever,
            self._watch.watch,
            self._provider.end_hanging_calls,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        closed, block = self._closed, self._block
        self._block = None
        cancelled = await self._end()
        self._stalls.close()
        await self._turns.clear()
        if closed is not None and block is not None and not block.uncancel():
            raise closed
        if cancelled is not None:
            raise cancelled

    def _is_busy(self) -> bool:
        return bool(len(self._turns) or len(self._activities))

    async def _try_storage(self) -> None:
        """One call, so that a provider that cannot be used is told here and not in the log."""
        home = self._provider.home
        if not home.is_closed and not home.is_here():
            raise ClientUnusable(
                f"the provider {self._provider.description} was opened on another event loop; start"
                " the runtime there, or open a provider here"
            )
        try:
            await self._provider.read_instance("perdure")
        except ProviderError as error:
            if not error.retryable:
                raise

    async def _end(self) -> asyncio.CancelledError | None:
        """Let the end run to its own end; returns the cancellation that came meanwhile."""
        cancelled: asyncio.CancelledError | None = None
        ending = self._begin_to_end()
        while not ending.done():
            try:
                await asyncio.wait((ending,))
            except asyncio.CancelledError as asked:
                cancelled = asked
                self._ending.hurry()
            if ending.cancelled():
                # Before its first step, with all tasks of an event loop that is being ended.
                self._ending.hurry()
                ending = self._begin_to_end()
        ending.result()
        return cancelled

    def _begin_to_end(self) -> asyncio.Task[None]:
        work = self._ending.run(self._leasing, self._caring)
        return asyncio.create_task(work, name="the end of a runtime")

    @property
    def statistics(self) -> RuntimeStatistics:
        """A snapshot, for monitoring and tests."""
        return RuntimeStatistics(
            live_executions=len(self._turns.cache),
            turns_running=len(self._turns),
            activities_running=len(self._activities),
            turns_committed=self._turns.turns_committed,
            histories_read=self._turns.histories_read,
        )

    def _start(self, *loops: Callable[[], Awaitable[None]]) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._keep_going(loop)) for loop in loops]

    async def _keep_going(self, loop: Callable[[], Awaitable[None]]) -> None:
        """A loop that breaks is begun anew: one surprise must not leave the runtime half alive.

        One that returns has nothing to do on this provider.
        """
        while True:
            try:
                await loop()
                return
            except StorageClosed as error:
                self._stop(error)
                return
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Left behind by a call that had ended when it was cancelled for hanging.
                _LOGGER.warning("the runtime's %s was cancelled by a stray call", loop.__name__)
            except Exception:
                _LOGGER.exception("the runtime's %s broke and is begun anew", loop.__name__)
                await self._provider.clock.sleep(timedelta(seconds=1))

    def _stop(self, error: StorageClosed) -> None:
        """The provider was closed under the runtime: nothing can be done any more."""
        if self._closed is not None or self._block is None:
            return
        _LOGGER.error("the runtime stops: %s; close a provider after its runtimes", error)
        self._closed = error
        self._block.cancel()
