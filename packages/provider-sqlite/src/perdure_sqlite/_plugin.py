"""What this package declares to Perdure. It imports no driver until a provider is opened."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from perdure.contract import (
    DELETION,
    LISTING,
    MANAGEMENT,
    PERSISTENT,
    RECOVERY,
    SHARED,
    TRANSACTIONS,
    VALUES,
    Clock,
    Provider,
    ProviderSpec,
    ProviderUrl,
    hookimpl,
)

from perdure_sqlite._options import SQLiteOptions

if TYPE_CHECKING:
    from perdure_conformance.backend import Backend, Declaration


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
            contract=(1, 1),
            capabilities=frozenset(
                {DELETION, LISTING, MANAGEMENT, PERSISTENT, RECOVERY, SHARED, TRANSACTIONS, VALUES}
            ),
            options=lambda: SQLiteOptions,
            open=_open,
            example_url="sqlite:///orders.db",
        )
    ]


@hookimpl(optionalhook=True)
def perdure_conformance_harness(url: str, declaration: Declaration) -> Backend:
    """The backend that the conformance suite uses for a file."""
    from perdure_sqlite._testing.backend import FileBackend

    path = SQLiteOptions.from_url(ProviderUrl.parse(url)).file
    return FileBackend(url, declaration, path=path)
