"""The runtime: runs orchestrations and activities inside the user's own process.

It puts the parts together, starts their loops and ends them; the parts do the work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self

from perdure.authoring.catalog import Catalog
from perdure.authoring.registry import Registry
from perdure.authoring.startup import refuse_unusable
from perdure.client import Client
from perdure.contract.provider import Provider, check_provider
from perdure.errors import ClientUnusable, PerdureError, ProviderError, StorageClosed
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.record import record
from perdure.model.settings import require
from perdure.providers.plugins import create_plugin_manager
from perdure.runtime.activity_worker import ActivityWorker
from perdure.runtime.bytes_in_flight import BytesInFlight
from perdure.runtime.cancellation_watch import CancellationWatch
from perdure.runtime.clock_skew import ClockSkew
from perdure.runtime.end_requests import EndRequests
from perdure.runtime.executions import Executions
from perdure.runtime.health import FailedStorageCall
from perdure.runtime.isolation_gate import IsolationGate
from perdure.runtime.observers import Observers
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.parking import ParkedInstances
from perdure.runtime.payload_budget import PayloadBudget
from perdure.runtime.provider_guard import GuardedProvider
from perdure.runtime.retention import RetentionJob
from perdure.runtime.shutdown import Shutdown
from perdure.runtime.stall_watch import StallWatch
from perdure.runtime.stop_signals import wait_for_stop_signal
from perdure.runtime.storage_usage import StorageUsage
from perdure.runtime.transactional_activity import refuse_transactional
from perdure.runtime.turn_dispatcher import TurnDispatcher
from perdure.runtime.turn_leases import TurnLeases
from perdure.runtime.turn_services import TurnServices
from perdure.runtime.value_differences import ValueDifferences
from perdure.runtime.worker_tag import WorkerTag
from perdure.runtime.wrappers import activity_wrappers, turn_wrappers

_LOGGER = logging.getLogger("perdure.runtime")


@record
class RuntimeStatistics:
    """What a runtime holds now and has done so far."""

    live_executions: int
    """Kept in memory between turns; never more than `cache_size`."""
    turns_running: int
    activities_running: int
    turns_committed: int
    histories_read: int
    """How often an execution was rebuilt from its history."""
    bytes_in_flight: int
    """Of the payloads of work under way that are larger than 32 KB, as JSON: about
    `max_bytes_in_flight` at most."""
    instances_deleted: int
    """By its retention, without counting children."""
    last_error: FailedStorageCall | None
    """The last call to the storage that failed; None if none has failed so far."""


class Runtime:
    """Runs what is registered, on what the provider stores, for as long as its block lasts.

        async with Runtime(provider, app) as runtime:
            await runtime.run_until_stopped()

    Several runtimes may share a provider or a storage, in one process or in many. When the block
    ends, the runtime stops leasing, lets turns commit and activities go on for `shutdown_grace`,
    and gives every lease back, so that another runtime takes over at once. It is gone a second
    later at the latest, whatever hangs. Cancelling the task that leaves the block ends the grace
    period at once. Activities find `resources` in their context (a pool, a session). `plugins` may
    implement `perdure_observe`, `perdure_wrap_activity`, `perdure_wrap_turn` and `perdure_headers`.

    Raises `NondeterministicCode` if an orchestration calls a registered activity directly.
    Entering raises `CapabilityMissing` if an activity is transactional and the provider has no
    transactions, and what the storage raises, unless the failure may pass (`retryable`):
    `StorageClosed` if the provider is not open, `StorageFailed` if the storage refuses. If the
    provider is closed while the runtime serves a block, the runtime cancels the block, and leaving
    it raises `StorageClosed`.
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
        clock = provider.clock
        hooks = create_plugin_manager(plugins)
        observers = Observers(hooks)
        parked = ParkedInstances(clock, observers)
        skew = ClockSkew(clock, self._options.poll_interval)
        gate = IsolationGate(clock)
        self._worker_tag = WorkerTag()
        self._stalls = StallWatch(self._options, self._is_busy)
        in_flight = self._in_flight = BytesInFlight(self._options.max_bytes_in_flight)
        self._turn_leases = TurnLeases(clock, self._options, in_flight.turns)
        self._activities = ActivityWorker(
            provider=guarded,
            catalog=self._catalog,
            options=self._options,
            observers=observers,
            results=self._turn_leases,
            gate=gate,
            parked=parked,
            skew=skew,
            stalls=self._stalls,
            client=Client(provider, plugins=plugins),
            resources=resources,
            worker_tag=self._worker_tag,
            wrappers=activity_wrappers(hooks),
            in_flight=in_flight.activities,
        )
        self._services = TurnServices(
            provider=guarded,
            options=self._options,
            observers=observers,
            executions=Executions(
                guarded,
                self._catalog,
                self._options,
                ValueDifferences(clock, observers),
                in_flight,
            ),
            activities=self._activities,
            parked=parked,
            skew=skew,
            idle=self._turn_leases.idle,
            in_flight=in_flight.turns,
            payload_budget=PayloadBudget(in_flight.commits),
            wrappers=turn_wrappers(hooks),
        )
        self._turns = TurnDispatcher(
            self._services,
            catalog=self._catalog,
            leases=self._turn_leases,
            gate=gate,
            stalls=self._stalls,
        )
        self._watch = CancellationWatch(
            guarded,
            self._activities.leases,
            self._options.poll_interval,
            lost=self._activities.cancellation.leases_lost,
        )
        self._end_requests = EndRequests(
            guarded,
            self._activities.leases,
            self._activities.cancellation,
            self._options.poll_interval,
        )
        self._shutdown = Shutdown(
            clock, self._options.shutdown_grace, self._turns, self._activities
        )
        retention = self._options.retention
        self._retention = (
            None
            if retention is None
            else RetentionJob(guarded, retention, observers, self._is_busy)
        )
        self._usage = StorageUsage(guarded, observers)
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
        refuse_transactional(self._catalog, self._provider)
        self._entered = True
        await self._try_storage()
        self._block = asyncio.current_task()
        turns, activities = self._turns, self._activities
        self._leasing = self._start(turns.dispatch, activities.dispatch)
        self._caring = self._start(
            self._turn_leases.let_go_of_idle,
            turns.renewal.renew_for_ever,
            activities.renewal.renew_for_ever,
            self._watch.watch,
            self._end_requests.watch,
            self._provider.end_hanging_calls,
            *((self._usage.run,) if self._usage.is_told else ()),
            *(() if self._retention is None else (self._retention.run,)),
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
        self._usage.tell()
        self._services.executions.clear()
        if closed is not None and block is not None and not block.uncancel():
            raise closed
        if cancelled is not None:
            raise cancelled

    def _is_busy(self) -> bool:
        return bool(len(self._turns) or len(self._activities.leases))

    async def _try_storage(self) -> None:
        """Make one call, so that entering raises if the provider cannot be used."""
        loop = self._provider.event_loop
        loop.check_working()
        if not loop.is_closed and not loop.is_running_here():
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
        """Let the shutdown run to its end; returns the cancellation that came meanwhile."""
        cancelled: asyncio.CancelledError | None = None
        ending = self._begin_to_end()
        while not ending.done():
            try:
                await asyncio.wait((ending,))
            except asyncio.CancelledError as asked:
                cancelled = asked
                self._shutdown.hurry()
            if ending.cancelled():
                # Before its first step, with all tasks of an event loop that is being ended.
                self._shutdown.hurry()
                ending = self._begin_to_end()
        ending.result()
        return cancelled

    def _begin_to_end(self) -> asyncio.Task[None]:
        work = self._shutdown.run(self._leasing, self._caring)
        return asyncio.create_task(work, name="the end of a runtime")

    @property
    def statistics(self) -> RuntimeStatistics:
        """A snapshot, for monitoring and tests."""
        return RuntimeStatistics(
            live_executions=len(self._services.executions),
            turns_running=len(self._turns),
            activities_running=len(self._activities.leases),
            turns_committed=self._services.turns_committed,
            histories_read=self._services.executions.histories_read,
            bytes_in_flight=self._in_flight.in_use + self._services.executions.given,
            instances_deleted=0 if self._retention is None else self._retention.deleted,
            last_error=self._provider.health.last_error,
        )

    @property
    def worker_tag(self) -> str:
        """The tag that only this runtime serves; `activity_context().worker_tag` has it too.

        An activity that is scheduled with it runs here, beside the tags of `RuntimeOptions`. It is
        another one in every process and after every start.
        """
        return self._worker_tag.value

    @property
    def healthy(self) -> bool:
        """Whether the runtime serves its block and its storage answers, for a health check.

        False before the block and once it ends, after the provider was closed under the runtime,
        and while calls to the storage fail: the latest call of some kind has failed, less than a
        minute ago. `statistics.last_error` says which.
        """
        return self._block is not None and self._closed is None and self._provider.health.is_good

    async def run_until_stopped(self) -> None:
        """Wait in the runtime's block until the process gets SIGTERM or SIGINT (Ctrl-C).

            async with Runtime(provider, app) as runtime:
                await runtime.run_until_stopped()

        The block then ends in order: activities may go on for `shutdown_grace`. Signals that come
        later do what they did before the call: by default SIGINT ends the grace period, SIGTERM
        ends the process. Raises `PerdureError` outside of the block and of the main thread.
        """
        if self._block is None:
            raise PerdureError(
                "run_until_stopped() was called outside the runtime's block; call it inside"
                " 'async with Runtime(…) as runtime'"
            )
        await wait_for_stop_signal()

    def _start(self, *loops: Callable[[], Awaitable[None]]) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self._keep_going(loop)) for loop in loops]

    async def _keep_going(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop, and start it again if it breaks: a surprise must not leave a runtime half alive.

        A loop that returns has nothing to do on this provider.
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
                _LOGGER.exception("the runtime's %s broke and starts again", loop.__name__)
                await self._provider.clock.sleep(timedelta(seconds=1))

    def _stop(self, error: StorageClosed) -> None:
        """Cancel the block: the provider is closed, so nothing can go on."""
        if self._closed is not None or self._block is None:
            return
        _LOGGER.error("the runtime stops: %s; close a provider after its runtimes", error)
        self._closed = error
        self._block.cancel()
