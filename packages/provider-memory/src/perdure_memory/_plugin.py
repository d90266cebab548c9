"""What this package declares to Perdure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from perdure.contract import (
    DELETION,
    LISTING,
    MANAGEMENT,
    RECOVERY,
    VALUES,
    Clock,
    Provider,
    ProviderSpec,
    ProviderUrl,
    hookimpl,
)

from perdure_memory._options import MemoryOptions
from perdure_memory._provider import MemoryProvider

if TYPE_CHECKING:
    from perdure_conformance.backend import Backend, Declaration


@asynccontextmanager
async def _open(options: MemoryOptions, *, clock: Clock) -> AsyncGenerator[Provider]:
    yield MemoryProvider(options, clock=clock)


@hookimpl
def perdure_provider_specs() -> Sequence[ProviderSpec]:
    """The memory provider."""
    return [
        ProviderSpec(
            scheme="memory",
            contract=(1, 1),
            capabilities=frozenset({MANAGEMENT, RECOVERY, DELETION, VALUES, LISTING}),
            options=lambda: MemoryOptions,
            open=_open,
            example_url="memory://name",
        )
    ]


@hookimpl(optionalhook=True)
def perdure_conformance_harness(url: str, declaration: Declaration) -> Backend | None:
    """The backend that the conformance suite uses for a named store."""
    name = MemoryOptions.from_url(ProviderUrl.parse(url)).name
    if name is None:
        return None
    from perdure_memory._conformance_backend import NamedStoreBackend

    return NamedStoreBackend(url, declaration, name=name)
