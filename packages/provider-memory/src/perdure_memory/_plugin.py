"""What this package declares to Perdure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from perdure.contract import MANAGEMENT, Clock, Provider, ProviderSpec, hookimpl

from perdure_memory._options import MemoryOptions
from perdure_memory._provider import MemoryProvider


@asynccontextmanager
async def _open(options: MemoryOptions, *, clock: Clock) -> AsyncGenerator[Provider]:
    yield MemoryProvider(options, clock=clock)


@hookimpl
def perdure_provider_specs() -> Sequence[ProviderSpec]:
    """The memory provider."""
    return [
        ProviderSpec(
            scheme="memory",
            contract=(1, 0),
            capabilities=frozenset({MANAGEMENT}),
            options=lambda: MemoryOptions,
            open=_open,
            example_url="memory://name",
        )
    ]
