"""One process on a stage: the real runtime, with the process's own view of the storage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from perdure.authoring.catalog import Catalog
from perdure.authoring.registry import Registry
from perdure.model.settings import require
from perdure.runtime.options import RuntimeOptions
from perdure.testing.stage_fakes import StageFakes
from perdure.testing.stage_provider import StageProvider
from perdure.testing.stage_runtime import StageRuntime
from perdure.testing.stage_time import StageTime

_POLL = timedelta(days=1)
"""The runtime of a stage is woken by the stage; polls would only break up the jumps of time."""


def prepared(options: RuntimeOptions) -> RuntimeOptions:
    """The options as a runtime on a stage has them."""
    checked = require(options, RuntimeOptions, "options", "pass RuntimeOptions(…)")
    return replace(checked, poll_interval=_POLL, shutdown_grace=timedelta(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """What a process runs."""

    registries: tuple[Registry, ...]
    resources: object
    options: RuntimeOptions
    plugins: Sequence[object]
    keeps_executions: bool = True
    """False: each instance is rebuilt from its history for each lease."""


class StageProcess:
    """A process on a stage; `runtime` is its runtime, which a restart or a crash replaces."""

    def __init__(
        self,
        deployed: Deployed,
        *,
        link: Callable[[], StageProvider],
        time: StageTime,
        fakes: StageFakes,
    ) -> None:
        self._deployed = deployed
        self._new_link = link
        self._time = time
        self._fakes = fakes
        self._runs = False
        self._begin()

    def _begin(self) -> None:
        deployed = self._deployed
        self.link = self._new_link()
        """Its view of the storage."""
        self.runtime = StageRuntime(
            self.link,
            *deployed.registries,
            resources=deployed.resources,
            plugins=deployed.plugins,
            options=deployed.options,
        )
        """Its runtime."""
        self._fakes.deploy(self.runtime.catalog)
        if not deployed.keeps_executions:
            self.runtime.keep_no_executions()

    @property
    def catalog(self) -> Catalog:
        """The code that it runs."""
        return self.runtime.catalog

    @property
    def is_busy(self) -> bool:
        """Whether an activity is under way."""
        return self.runtime.statistics.activities_running > 0

    @property
    def lingers(self) -> bool:
        """Whether a function is still in its thread although its attempt is over."""
        return self.runtime.has_lingering_threads

    async def start(self) -> None:
        """Start the runtime."""
        await self.runtime.__aenter__()
        self._runs = True

    async def stop(self) -> None:
        """Stop the runtime in order, if it has not stopped before; `restart` starts it again."""
        if self._runs:
            self._runs = False
            await self._time.run(self.runtime.__aexit__(None, None, None))

    async def restart(self, *registries: Registry, options: RuntimeOptions | None = None) -> None:
        """Stop in order and start again, with other code and options if they are given."""
        deployed = self._deployed
        self._deployed = replace(
            deployed,
            registries=registries or deployed.registries,
            options=prepared(options) if options else deployed.options,
        )
        with self._time.paused():
            await self.stop()
            await self.start_again()

    async def crash(self) -> None:
        """Kill the runtime, and start a new one. The leases of the old one last on."""
        self.link.crash()
        with self._time.paused():
            await self.dispose()
            self._time.due_after(self._deployed.options.turn_lease)
            self._time.due_after(self._deployed.options.activity_lease)
            await self.start_again()

    async def dispose(self) -> None:
        """End what is left of the runtime after a crash."""
        if not self._runs:
            return
        self._runs = False
        self.runtime.cancel_all()
        self.link.dispose()
        await self._time.run(self.runtime.kill())

    async def start_again(self) -> None:
        """Start a new runtime in the place of one that has ended."""
        self._begin()
        await self.start()
        self._time.wake_waits()
