"""The runtime: runs orchestrations and activities inside the user's own process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Self

from perdure.client import Client
from perdure.contract.provider import Provider
from perdure.errors import PerdureError
from perdure.inside import refuse_inside_orchestration
from perdure.registry import Catalog, Registry
from perdure.runtime.activities import Activities
from perdure.runtime.alone import AloneGate
from perdure.runtime.observers import Observers
from perdure.runtime.options import RuntimeOptions
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
    lease back, so that another runtime takes over at once. `resources` is what activities find in
    their context (a pool, a session). `plugins` may implement `perdure_observe`.
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
        self._options = options or RuntimeOptions()
        self._provider = provider
        self._catalog = Catalog(registries)
        observers = Observers(plugins)
        self._gate = AloneGate(provider.clock)
        self._activities = Activities(
            provider=provider,
            catalog=self._catalog,
            options=self._options,
            observers=observers,
            gate=self._gate,
            client=Client(provider),
            resources=resources,
        )
        self._turns = Turns(
            provider=provider,
            catalog=self._catalog,
            options=self._options,
            observers=observers,
            gate=self._gate,
            activities=self._activities,
        )
        self._leasing: list[asyncio.Task[None]] = []
        self._caring: list[asyncio.Task[None]] = []
        self._entered = False

    async def __aenter__(self) -> Self:
        if self._entered:
            raise PerdureError("this runtime was started before; make a new one")
        self._entered = True
        turns, activities = self._turns, self._activities
        self._leasing = self._start(turns.dispatch, activities.dispatch)
        self._caring = self._start(
            turns.let_go_of_idle, turns.keeper.keep_for_ever, activities.keeper.keep_for_ever
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nothing new is leased; renewal goes on until what is under way has ended.
        await _end(self._leasing)
        await asyncio.gather(self._turns.drain(), self._activities.drain())
        await self._activities.close()
        await self._turns.clear()
        await _end(self._caring)

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
        """A loop that breaks is begun anew: one surprise must not leave the runtime half alive."""
        while True:
            try:
                await loop()
            except Exception:
                _LOGGER.exception("the runtime's %s broke and is begun anew", loop.__name__)
                await self._provider.clock.sleep(timedelta(seconds=1))


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    tasks.clear()
