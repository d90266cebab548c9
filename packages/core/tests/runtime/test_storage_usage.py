"""What a provider asks of its storage, as observers are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

import perdure
from perdure import OrchestrationContext
from perdure.contract import DelegatingProvider, Provider, ProviderCall
from perdure.observe import RuntimeEvent, StorageUsed
from perdure_memory import MemoryProvider

R = TypeVar("R")
app = perdure.Registry()


@app.orchestration
async def ends(ctx: OrchestrationContext) -> None:
    """Has nothing to do."""


class Counting(DelegatingProvider):
    """Counts its calls."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.calls = Counter[str]()

    async def around(self, operation: str, call: ProviderCall[R]) -> R:
        self.calls[operation] += 1
        return await super().around(operation, call)

    def read_usage(self) -> Mapping[str, float]:
        return {"calls": self.calls.total(), "commits": self.calls["commit_turn"]}


class Observer:
    """Collects what was used."""

    def __init__(self) -> None:
        self.told: list[StorageUsed] = []

    @perdure.hookimpl
    def perdure_observe(self, event: RuntimeEvent) -> None:
        if isinstance(event, StorageUsed):
            self.told.append(event)


async def run_one(provider: Provider, instance: str) -> None:
    client = perdure.Client(provider)
    await client.start_orchestration(instance, ends)
    await client.wait_for_orchestration(instance)


async def test_observers_are_told_once_a_minute_and_at_the_end_what_was_used_since() -> None:
    clock, observer = perdure.ManualClock(), Observer()
    provider = Counting(MemoryProvider(clock=clock))
    async with perdure.Runtime(provider, app, plugins=[observer]):
        await run_one(provider, "one")
        await run_one(provider, "two")
        assert observer.told == []
        clock.advance(timedelta(minutes=1))
        await run_one(provider, "three")

    first, last = observer.told
    assert (first.usage["commits"], last.usage["commits"]) == (2, 1)
    assert first.usage["calls"] + last.usage["calls"] <= provider.calls.total()
    assert first.at == last.at == clock.now()


async def test_observers_of_a_provider_that_does_not_count_are_told_nothing() -> None:
    clock, observer = perdure.ManualClock(), Observer()
    provider = MemoryProvider(clock=clock)
    async with perdure.Runtime(provider, app, plugins=[observer]):
        await run_one(provider, "one")
        clock.advance(timedelta(minutes=2))
        await run_one(provider, "two")

    assert observer.told == []
