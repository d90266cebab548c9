"""The backend that the conformance suite uses: one driver session for all provider objects.

The suite opens hundreds of provider objects, and reading the driver's description of DynamoDB
anew for each would cost more than the checks do.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aioboto3  # pyright: ignore[reportMissingTypeStubs]
from perdure.clock import Clock
from perdure.contract import Provider, ProviderUrl

from perdure_dynamodb._opening import open_on_aws
from perdure_dynamodb._options import DynamoDBOptions
from perdure_dynamodb._plugin import perdure_provider_specs

if TYPE_CHECKING:
    from perdure_conformance.backend import Declaration


class SessionBackend:
    """Opens provider objects on the table of a URL."""

    def __init__(self, url: str) -> None:
        self.url: str | None = url
        self._parsed = ProviderUrl.parse(url)
        self._options = DynamoDBOptions.from_url(self._parsed)
        self._session = aioboto3.Session(profile_name=self._options.profile)

    @property
    def declaration(self) -> Declaration:
        """What the provider says of itself."""
        from importlib.metadata import version

        from perdure_conformance.backend import Declaration

        [spec] = perdure_provider_specs()
        return Declaration(
            scheme=spec.scheme,
            contract=spec.contract,
            capabilities=spec.capabilities,
            description=self._parsed.masked,
            distribution="perdure-dynamodb",
            version=version("perdure-dynamodb"),
        )

    @asynccontextmanager
    async def open(self, *, clock: Clock, namespace: str) -> AsyncGenerator[Provider]:
        """A provider object on this namespace of the table."""
        options = self._options.model_copy(update={"namespace": namespace})
        async with open_on_aws(options, clock=clock, session=self._session) as provider:
            yield provider
