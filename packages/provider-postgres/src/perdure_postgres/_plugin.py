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
    hookimpl,
)

from perdure_postgres._options import PostgresOptions

if TYPE_CHECKING:
    from perdure_conformance.backend import Backend, Declaration


@asynccontextmanager
async def _open(options: PostgresOptions, *, clock: Clock) -> AsyncGenerator[Provider]:
    from perdure_postgres._provider import PostgresProvider

    async with PostgresProvider(options, clock=clock) as provider:
        yield provider


@hookimpl
def perdure_provider_specs() -> Sequence[ProviderSpec]:
    """The PostgreSQL provider."""
    return [
        ProviderSpec(
            scheme="postgresql",
            contract=(1, 1),
            capabilities=frozenset(
                {DELETION, LISTING, MANAGEMENT, PERSISTENT, RECOVERY, SHARED, TRANSACTIONS, VALUES}
            ),
            options=lambda: PostgresOptions,
            open=_open,
            example_url="postgresql://user@host/database",
        )
    ]


@hookimpl(optionalhook=True)
def perdure_conformance_harness(url: str, declaration: Declaration) -> Backend:
    """The backend that the conformance suite uses for a database."""
    from perdure_postgres._testing.backend import DatabaseBackend

    return DatabaseBackend(url, declaration)
