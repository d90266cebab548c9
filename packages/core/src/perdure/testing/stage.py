"""A stage: an application in a test, with its runtime, its client and its clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Never, ParamSpec, Self, TypeVar, overload

from perdure.authoring.functions import ActivityDefinition, orchestration_reference
from perdure.authoring.registry import Catalog, Registry
from perdure.clock import ManualClock
from perdure.contract.provider import Provider
from perdure.errors import PerdureError
from perdure.history import Event
from perdure.model.durations import to_duration
from perdure.model.settings import require
from perdure.providers.loader import open_provider
from perdure.records.limits import LONGEST_LEASE
from perdure.runtime.options import RuntimeOptions
from perdure.testing.fakes import (
    UNSET,
    Fake,
    fake_definition,
    faked_definition,
    make_fake,
    refusing_fake,
)
from perdure.testing.stage_client import StageClient
from perdure.testing.stage_provider import StageProvider
from perdure.testing.stage_runtime import StageRuntime
from perdure.testing.stage_time import StageTime

if TYPE_CHECKING:
    from pydantic import BaseModel

    from perdure.client.handle import Handle

P = ParamSpec("P")
R = TypeVar("R")

_POLL = timedelta(days=1)
"""The runtime of a stage is woken by the stage; polls would only break up the jumps of time."""
_OPTIONS = RuntimeOptions(turn_lease=LONGEST_LEASE, activity_lease=LONGEST_LEASE)


class Stage:
    """Runs an application for one test: `async with Stage(app) as stage`.

    The engine, the runtime and the client are the real ones; the storage is in memory, or any other
    by `url`. Time starts at `start` and skips by itself: while the test awaits the end of an
    instance and nothing is under way, the clock jumps to the next instant at which something is
    due. It never jumps over an activity that runs. With `skip=False` only `advance` moves it.

    `resources`, `options` and `plugins` are those of `Runtime`. Each `registry` is used as it is;
    `fake` replaces activities in this stage alone. With `fake_all`, an activity without a fake
    fails, and leaving the block raises an error that names it.
    """

    def __init__(
        self,
        *registries: Registry,
        resources: object = None,
        options: RuntimeOptions | None = None,
        plugins: Sequence[object] = (),
        url: str | BaseModel = "memory://",
        start: datetime | None = None,
        skip: bool = True,
        fake_all: bool = False,
    ) -> None:
        self._registries = registries
        self._resources = resources
        options = require(options or _OPTIONS, RuntimeOptions, "options", "pass RuntimeOptions(…)")
        self._options = replace(options, poll_interval=_POLL, shutdown_grace=timedelta(0))
        self._plugins = plugins
        self._url = url
        self._skips = skip
        self._catalog = Catalog(registries)
        self._fakes: dict[str, ActivityDefinition] = {}
        self._refused: list[str] = []
        if fake_all:
            for definition in self._catalog.activities.values():
                fake = refusing_fake(definition, self._refused.append)
                self._install(fake_definition(definition, fake))
        self.clock = ManualClock(start)
        """The clock of everything on the stage."""
        self._began = self.clock.now()
        self._numbers = count(1)
        self._exit: AsyncExitStack | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        if self._exit is not None:
            raise PerdureError("this stage was entered before; make a new one for each test")
        self._exit = AsyncExitStack()
        try:
            self._storage = await self._exit.enter_async_context(self._open_storage())
            self._time = StageTime(self.clock, self._storage.notifier, self._is_busy)
            self._client = StageClient(self._client_link(), self._time)
            self._begin()
            await self._runtime.__aenter__()
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
            await self._time.run(self._runtime.__aexit__(None, None, None))
        finally:
            assert self._exit is not None  # noqa: S101 # entered
            await self._exit.aclose()
            self._is_closed = True
        if self._refused and error is None:
            names = ", ".join(map(repr, dict.fromkeys(self._refused)))
            raise PerdureError(f"the test ran activities without a fake: {names}; fake them")

    @property
    def is_closed(self) -> bool:
        """Whether its block has ended."""
        return self._is_closed

    # Running

    @property
    def client(self) -> StageClient:
        """A client; while one of its waits for the end of an instance lasts, time skips."""
        return self._client

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
        return self._client.start(instance, orchestration)(*args, **kwargs)

    async def history(self, instance: str, execution: int | None = None) -> Sequence[Event]:
        """The events of an execution, of the newest one by default."""
        if execution is None:
            execution = (await self._client.list_executions(instance))[-1]
        return await self._client.read_execution_history(instance, execution)

    # Fakes

    @overload
    def fake(self, activity: Callable[..., object], *, returns: object) -> Fake: ...
    @overload
    def fake(
        self, activity: Callable[..., object], *, raises: BaseException | type[BaseException]
    ) -> Fake: ...
    @overload
    def fake(
        self,
        activity: Callable[..., object],
        *,
        calls: Callable[..., object] | Sequence[object],
    ) -> Fake: ...
    def fake(
        self,
        activity: Callable[..., object],
        *,
        returns: object = UNSET,
        raises: object = UNSET,
        calls: object = UNSET,
    ) -> Fake:
        """Replace an activity from now on; the fake records its calls.

        `returns` is the result of every call, `raises` the exception of every call. `calls` is a
        function that is called in its place, async or not, or a list of outcomes in turn, in which
        exceptions are raised. A later fake of the same activity replaces an earlier one.

        Raises `InvalidInput` or `InvalidPayload` if the fake does not fit the activity's signature.
        """
        definition = faked_definition(self._catalog, activity)
        fake = make_fake(definition, returns=returns, raises=raises, calls=calls)
        self._install(fake_definition(definition, fake))
        self._runtime.replace_activity(self._fakes[definition.name])
        return fake

    def _install(self, definition: ActivityDefinition) -> None:
        self._fakes[definition.name] = definition

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

    # Trouble

    async def restart(self) -> None:
        """Stop the runtime in order, and start a new one: as a deployment does."""
        with self._time.paused():
            await self._time.run(self._runtime.__aexit__(None, None, None))
            await self._start_again()

    async def crash(self) -> None:
        """Kill the runtime, and start a new one: nothing that it did since its last commit counts.

        What it had leased is free again when the leases are over, five minutes later by default.
        Activities that run in a thread go on to their end, and their results are dropped.
        """
        self._link.crash()
        with self._time.paused():
            await self._bury()
            self._time.due_after(self._options.turn_lease)
            self._time.due_after(self._options.activity_lease)
            await self._start_again()

    async def _bury(self) -> None:
        self._link.bury()
        await self._time.run(self._runtime.kill())

    async def _start_again(self) -> None:
        self._begin()
        await self._runtime.__aenter__()
        self._time.wake_waits()

    async def evict(self) -> None:
        """Remove every instance from memory, so that each is rebuilt from its history."""
        await self.settle()
        await self._runtime.evict()

    def _begin(self) -> None:
        self._link = self._new_link()
        self._runtime = StageRuntime(
            self._link,
            *self._registries,
            resources=self._resources,
            plugins=self._plugins,
            options=self._options,
        )
        for definition in self._fakes.values():
            self._runtime.replace_activity(definition)

    def _open_storage(self) -> AbstractAsyncContextManager[Provider]:
        return open_provider(self._url, clock=self.clock)

    def _new_link(self) -> StageProvider:
        return StageProvider(self._storage, self._time)

    def _client_link(self) -> StageProvider:
        return StageProvider(self._storage, self._time)

    def _is_busy(self) -> bool:
        return self._runtime.statistics.activities_running > 0

    async def _why_stuck(self, instance: str) -> str | None:
        """Why an instance does not go on, however much time passes; None if it may."""
        state = await self._storage.read_instance(instance)
        if state is None or state.parked is None:
            return None
        return f"it is parked ({state.parked.reason}): {state.parked.details}"

    async def _stop_skipping(self) -> None:
        if self._skipping is not None:
            self._skipping.cancel()
            await asyncio.wait([self._skipping])
