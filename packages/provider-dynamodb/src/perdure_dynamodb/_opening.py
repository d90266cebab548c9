"""Opening a provider: the client, the check of the table, the namespace's settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import aioboto3  # pyright: ignore[reportMissingTypeStubs]
from perdure.clock import Clock

from perdure_dynamodb._aws import aws_calls
from perdure_dynamodb._keys import Keys
from perdure_dynamodb._options import DynamoDBOptions
from perdure_dynamodb._provider import DynamoDBProvider
from perdure_dynamodb._retries import Pause, RetryingCalls
from perdure_dynamodb._schema import PATIENCE, check_table, explained
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._table import Table
from perdure_dynamodb._transport import Calls
from perdure_dynamodb._usage import Usage


@asynccontextmanager
async def open_on_aws(
    options: DynamoDBOptions,
    *,
    clock: Clock,
    session: aioboto3.Session | None = None,
    tags: Mapping[str, str] | None = None,
) -> AsyncGenerator[DynamoDBProvider]:
    """A provider with a client of its own, and with a session of its own unless one is given."""
    async with (
        checked_calls(options, clock=clock, session=session, tags=tags) as calls,
        open_on(calls, options, clock=clock) as provider,
    ):
        yield provider


@asynccontextmanager
async def checked_calls(
    options: DynamoDBOptions,
    *,
    clock: Clock,
    session: aioboto3.Session | None = None,
    tags: Mapping[str, str] | None = None,
) -> AsyncGenerator[Calls]:
    """A client, and a table that was looked at, or created where that is asked for."""
    context = aws_calls(options, session)
    until = asyncio.get_running_loop().time() + PATIENCE.total_seconds()
    # Made without the network, unless the credentials have to be fetched.
    with explained(_where(options)):
        async with asyncio.timeout_at(until):
            calls = await context.__aenter__()
    try:
        await check_table(
            calls,
            options.table,
            where=_where(options),
            create=options.create_table,
            clock=clock,
            until=until,
            tags=tags,
        )
        yield calls
    finally:
        await context.__aexit__(None, None, None)


@asynccontextmanager
async def open_on(
    calls: Calls, options: DynamoDBOptions, *, clock: Clock, pause: Pause = asyncio.sleep
) -> AsyncGenerator[DynamoDBProvider]:
    """A provider on a transport that the caller owns, with a table that is there."""
    usage = Usage()
    table = Table(RetryingCalls(calls, pause=pause, usage=usage), options.table, usage=usage)
    keys = Keys.of(options.namespace)
    shards = Shards(table, keys, clock=clock)
    await shards.open(options.shards)
    provider = DynamoDBProvider(
        table, keys, clock=clock, shards=shards, description=options.description
    )
    await provider.open()
    try:
        yield provider
    finally:
        await provider.close()


def _where(options: DynamoDBOptions) -> str:
    if options.endpoint_url is not None:
        return f"at {options.endpoint_url}"
    return "in the configured region" if options.region is None else f"in region {options.region}"
