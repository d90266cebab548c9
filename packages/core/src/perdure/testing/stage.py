"""A stage: an application in a test, with its runtime, its client and its clock."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Never, ParamSpec, Self, TypeVar, overload

from perdure.authoring.functions import ActivityDefinition, orchestration_reference
from perdure.authoring.registry import Registry
from perdure.clock import ManualClock
from perdure.contract.provider import Provider
from perdure.errors import PerdureError, ProviderError
from perdure.history import Event
from perdure.model.durations import to_duration
from perdure.providers.loader import ProviderOpener, find_provider
from perdure.records.limits import LONGEST_LEASE
from perdure.runtime.options import RuntimeOptions
from perdure.runtime.runtime import Runtime
from perdure.testing.fakes import UNSET, Fake
from perdure.testing.stage_client import ClientLink, StageClient
from perdure.testing.stage_fakes import StageFakes
from perdure.testing.stage_process import Deployed, StageProcess, prepared
from perdure.testing.stage_provider import StageProvider
from perdure.testing.stage_time import StageTime

if TYPE_CHECKING:
    from pydantic import BaseModel

    from perdure.client.handle import Handle

P = ParamSpec("P")
R = TypeVar("R")

_OPTIONS = RuntimeOptions(turn_lease=LONGEST_LEASE, activity_lease=LONGEST_LEASE)
_MEMORY = "memory://"


class Stage:
    """Runs an application for one test: `async with Stage(app) as stage`.

    The engine, the runtime and the client are the real ones; the storage is in memory, or any other
    by `url`. Time starts at `start` and skips by itself: while the test awaits the end of an
    instance and nothing is under way, the clock jumps to the next instant at which something is
    due. It never jumps over an activity that runs. With `skip=False` only `advance` and `until`
    move it.

    `resources` and `options` are those of `Runtime`; `plugins` are those of `Runtime`, of `Client` and of
    `open_provider`, so one that wraps the provider can count calls, or let them fail. Each
    `registry` is used as it is; `fake` replaces activities and children on this stage alone. With
    `fake_all`, an activity without a fake fails, and leaving the block raises an error that names
    it.
    """

    def __init__(
        self,
        *registries: Registry,
        resources: object = None,
        options: RuntimeOptions | None = None,
        plugins: Sequence[object] = (),
        url: str | BaseModel = _MEMORY,
        start: datetime | None = None,
        skip: bool = True,
        fake_all: bool = False,
    ) -> None:
        self._deployed = Deployed(
            registries=registries,
            resources=resources,
            options=prepared(options or _OPTIONS),
            plugins=plugins,
        )
        self._url = url
        self._skips = skip
        self._fakes = StageFakes(refuse_real=fake_all, wrap=self._wrapper())
        self.clock = ManualClock(start)
        """The clock of everything on the stage."""
        self._began = self.clock.now()
        self._numbers = count(1)
        self._workers: list[StageProcess] = []
        self._exit: AsyncExitStack | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise PerdureError("this stage was entered before; make a new one for each test")
        self._exit = AsyncExitStack()
        try:
            self._storage = await self._exit.enter_async_context(self._open_storage())
            self._time = StageTime(self.clock, self._storage.notifier, self._is_busy, self._lingers)
            self._client = StageClient(
                self._client_link(), self._time, plugins=self._deployed.plugins
            )
            self._process = self._make_process(self._deployed)
            await self._process.start()
        except BaseException:
            await self._exit.aclose()
            raise
        self._skipping = (
            asyncio.create_task(self._time.skip_for_ever(self._why_stuck), name="time of a stage")
            if self._skips
            else None
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._stop_skipping()
            await self._process.stop()
        finally:
            assert self._exit is not None  # noqa: S101 # entered
            await self._exit.aclose()
            self._is_closed = True
        if error is None:
            self._fakes.raise_if_refused()

    @property
    def is_closed(self) -> bool:
        """Whether its block has ended."""
        return self._is_closed

    # Running

    @property
    def client(self) -> StageClient:
        """A client; while one of its waits lasts, time skips."""
        self._require_entered()
        return self._client

    @property
    def runtime(self) -> Runtime:
        """The runtime, for its statistics. A restart or a crash replaces it."""
        self._require_entered()
        return self._process.runtime

    def run(
        self,
        orchestration: Callable[Concatenate[Never, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, R]:
        """Start an orchestration with these arguments, wait until it has ended, return its result.

        Raises `OrchestrationFailed` if it fails, and `NothingHappens` if it can never end.
        """

        async def run() -> R:
            handle = await self.start(orchestration, *args, **kwargs)
            return await handle.result()

        return run()

    def start(
        self,
        orchestration: Callable[Concatenate[Never, P], Awaitable[R]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, Handle[R]]:
        """Start an orchestration with these arguments, under an id that no other start has.

        The ids are `name-1`, `name-2` and so on. To choose one, use `stage.client`.
        """
        reference = orchestration_reference(orchestration)
        name = "instance" if reference is None else reference.name
        instance = f"{name}-{next(self._numbers)}"
        return self.client.start(instance, orchestration)(*args, **kwargs)

    async def history(self, instance: str, execution: int | None = None) -> Sequence[Event]:
        """The events of an execution, of the newest one by default."""
        if execution is None:
            execution = (await self.client.list_executions(instance))[-1]
        return await self.client.read_execution_history(instance, execution)

    # Fakes

    @overload
    def fake(self, function: Callable[..., object], *, returns: object) -> Fake: ...
    @overload
    def fake(
        self, function: Callable[..., object], *, raises: BaseException | type[BaseException]
    ) -> Fake: ...
    @overload
    def fake(
        self,
        function: Callable[..., object],
        *,
        calls: Callable[..., object] | Sequence[object],
    ) -> Fake: ...
    def fake(
        self,
        function: Callable[..., object],
        *,
        returns: object = UNSET,
        raises: object = UNSET,
        calls: object = UNSET,
    ) -> Fake:
        """Replace an activity or a child from now on; the fake records its calls.

        `function` is that of a registered activity or orchestration. `returns` is the result of
        every call, `raises` the exception of every call. `calls` is a function that is called in
        its place with its arguments, or a list of outcomes in turn, in which exceptions are raised.
        The function of an activity may be async or not; that of a child may await what an
        orchestration may. A later fake of the same function replaces an earlier one.

        Raises `InvalidInput` or `InvalidPayload` if the fake does not fit the signature, and
        `NotRegistered`.
        """
        self._require_entered()
        catalogs = [each.catalog for each in self._processes()]
        return self._fakes.make(catalogs, function, returns=returns, raises=raises, calls=calls)

    # Time

    @property
    def elapsed(self) -> timedelta:
        """How much time has passed on the clock."""
        return timedelta(microseconds=self.clock.now() - self._began)

    async def settle(self) -> None:
        """Return when nothing can happen before time passes or an event comes."""
        await self._time.settle()

    async def advance(self, duration: timedelta | float) -> None:
        """Let this much time pass, and everything happen that becomes due in it.

        Also beside an activity that runs: its lease is kept, and its time limit ends it.
        """
        await self._time.advance(to_duration(duration, "duration"))

    async def until(
        self,
        condition: Callable[[], object],
        *,
        within: timedelta | float = timedelta(days=30),
    ) -> None:
        """Let everything happen, and time pass while nothing happens, until the condition holds.

        The condition is a function, async or not, that is called again and again. Raises
        `NothingHappens` if it does not hold when nothing is due any more, or after `within`.
        """
        await self._time.until(condition, to_duration(within, "within"))

    # Processes

    @asynccontextmanager
    async def worker(
        self,
        *registries: Registry,
        resources: object = None,
        options: RuntimeOptions | None = None,
    ) -> AsyncGenerator[StageProcess]:
        """Another process with a runtime of its own on the same storage, while the block lasts.

        Fakes count in it too, and it can crash and restart by itself. Put activities of a tag, or
        a second release of your code, into one.
        """
        deployed = replace(
            self._deployed,
            registries=registries,
            resources=resources,
            options=prepared(options or _OPTIONS),
        )
        worker = self._make_process(deployed, tells_of_cancellations=True)
        await worker.start()
        self._workers.append(worker)
        try:
            yield worker
        finally:
            await worker.stop()
            self._workers.remove(worker)

    async def restart(self, *registries: Registry, options: RuntimeOptions | None = None) -> None:
        """Stop the runtime in order, and start a new one: as a deployment does.

        With registries, the new runtime has these: deploy another version of your code.
        """
        await self._process.restart(*registries, options=options)

    async def stop(self) -> None:
        """Stop the runtime in order, so that nothing runs until `restart`."""
        await self._process.stop()

    async def crash(self) -> None:
        """Kill the runtime, and start a new one: nothing that it did since its last commit counts.

        What it had leased is free again when the leases are over, five minutes later by default.
        Activities that run in a thread go on to their end, and their results are dropped.
        """
        await self._process.crash()

    async def evict(self) -> None:
        """Remove every instance from memory, so that each is rebuilt from its history."""
        await self.settle()
        for each in self._processes():
            await each.runtime.evict()

    def _require_entered(self) -> None:
        if self._exit is None:
            raise PerdureError("the stage is not entered; write `async with Stage(…) as stage`")

    def _processes(self) -> list[StageProcess]:
        return [self._process, *self._workers]

    def _make_process(
        self, deployed: Deployed, *, tells_of_cancellations: bool = False
    ) -> StageProcess:
        return StageProcess(
            deployed,
            link=lambda: self._new_link(tells_of_cancellations=tells_of_cancellations),
            time=self._time,
            fakes=self._fakes,
        )

    def _wrapper(self) -> Callable[[ActivityDefinition], ActivityDefinition] | None:
        """What is put around every activity."""
        return None

    def _open_storage(self) -> AbstractAsyncContextManager[Provider]:
        if self._url == _MEMORY and not self._deployed.plugins:
            return _memory().open(self.clock)
        return find_provider(self._url, plugins=self._deployed.plugins).open(self.clock)

    def _new_link(self, *, tells_of_cancellations: bool) -> StageProvider:
        return StageProvider(
            self._storage, self._time, tells_of_cancellations=tells_of_cancellations
        )

    def _client_link(self) -> StageProvider:
        return ClientLink(self._storage, self._time)

    def _is_busy(self) -> bool:
        return any(each.is_busy for each in self._processes())

    def _lingers(self) -> bool:
        return any(each.lingers for each in self._processes())

    async def _why_stuck(self, instance: str) -> str | None:
        """Why an instance does not go on, however much time passes; None if it may."""
        try:
            state = await self._storage.read_instance(instance)
        except ProviderError:
            return None  # a plugin of the test lets it fail: time goes on all the same
        if state is None or state.parked is None:
            return None
        return f"it is parked ({state.parked.reason}): {state.parked.details}"

    async def _stop_skipping(self) -> None:
        if self._skipping is not None:
            self._skipping.cancel()
            await asyncio.wait([self._skipping])


@functools.cache
def _memory() -> ProviderOpener:
    """The provider in memory, found once: the search for it takes longer than a test."""
    return find_provider(_MEMORY)
