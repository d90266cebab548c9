"""What this package declares to Perdure. Imports no driver until a provider is opened."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from perdure.contract import (
    MANAGEMENT,
    PERSISTENT,
    SHARED,
    Clock,
    Provider,
    ProviderSpec,
    hookimpl,
)

from perdure_sqlite._options import SQLiteOptions


@asynccontextmanager
async def _open(options: SQLiteOptions, *, clock: Clock) -> AsyncGenerator[Provider]:
    from perdure_sqlite._provider import SQLiteProvider

    async with SQLiteProvider(options, clock=clock) as provider:
        yield provider


@hookimpl
def perdure_provider_specs() -> Sequence[ProviderSpec]:
    """The SQLite provider."""
    return [
        ProviderSpec(
            scheme="sqlite",
            contract=(1, 0),
            capabilities=frozenset({MANAGEMENT, PERSISTENT, SHARED}),
            options=lambda: SQLiteOptions,
            open=_open,
            example_url="sqlite:///orders.db",
        )
    ]
