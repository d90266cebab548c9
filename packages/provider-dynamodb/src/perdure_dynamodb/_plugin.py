"""What this package declares to Perdure; loads no driver until a provider is opened."""

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
    VALUES,
    Clock,
    Provider,
    ProviderSpec,
    hookimpl,
)

if TYPE_CHECKING:
    from perdure_conformance.backend import Backend, Declaration

    from perdure_dynamodb._options import DynamoDBOptions


def _options() -> type[DynamoDBOptions]:
    from perdure_dynamodb._options import DynamoDBOptions

    return DynamoDBOptions


@asynccontextmanager
async def _open(options: DynamoDBOptions, *, clock: Clock) -> AsyncGenerator[Provider]:
    from perdure_dynamodb._opening import open_on_aws

    async with open_on_aws(options, clock=clock) as provider:
        yield provider


@hookimpl
def perdure_provider_specs() -> Sequence[ProviderSpec]:
    """The DynamoDB provider."""
    return [
        ProviderSpec(
            scheme="dynamodb",
            contract=(1, 1),
            capabilities=frozenset(
                {DELETION, LISTING, MANAGEMENT, PERSISTENT, RECOVERY, SHARED, VALUES}
            ),
            options=_options,
            open=_open,
            example_url="dynamodb://Table?region=eu-west-1",
        )
    ]


@hookimpl(optionalhook=True)
def perdure_conformance_harness(url: str, declaration: Declaration) -> Backend:
    """The backend that the conformance suite uses for this provider."""
    from perdure_dynamodb.testing.harness import SessionBackend

    return SessionBackend(url, declaration)
