"""Commands: run DynamoDB Local, create or check a table, and count what operations cost."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import threading
from collections.abc import Mapping, Sequence

from perdure.clock import SystemClock
from perdure.contract import ProviderUrl
from perdure.errors import PerdureError

from perdure_dynamodb import local
from perdure_dynamodb._opening import checked_calls, open_on_aws
from perdure_dynamodb._options import DEFAULT_SHARDS, DynamoDBOptions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perdure_dynamodb", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("local", help="run DynamoDB Local until it is interrupted")
    run.add_argument("--port", type=int, default=None, help="the port; a free one by default")
    create = commands.add_parser("create-table", help="create the table unless it exists")
    check = commands.add_parser("check-table", help="check that the table can be used")
    create.add_argument(
        "--tag", action="append", default=[], metavar="KEY=VALUE", help="a tag of a new table"
    )
    costs = commands.add_parser(
        "costs", help="do every operation once, in a namespace of its own, and count"
    )
    for command in (create, check, costs):
        command.add_argument("url", help="as in dynamodb://Table?region=eu-west-1")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "local":
            return _run_local(chosen.port)
        if chosen.command == "costs":
            return asyncio.run(_count(chosen.url))
        if chosen.command == "create-table":
            return asyncio.run(_open(chosen.url, create=True, tags=_tags(chosen.tag)))
        return asyncio.run(_open(chosen.url, create=False, tags={}))
    except (PerdureError, ValueError, local.LocalUnavailable) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run_local(port: int | None) -> int:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())  # pyright: ignore[reportUnknownLambdaType] # unused
    with local.running(port) as endpoint:
        sys.stdout.write(f"DynamoDB Local runs, in memory, at {endpoint}; open it with\n\n")
        sys.stdout.write(f"    {local.url_of(endpoint)}\n\nCtrl+C stops it.\n")
        sys.stdout.flush()
        try:
            stop.wait()
        except KeyboardInterrupt:
            sys.stdout.write("\n")
    return 0


async def _count(url: str) -> int:
    from perdure_dynamodb.testing.costs import measure, table_of

    options = DynamoDBOptions.from_url(ProviderUrl.parse(url))
    async with checked_calls(options, clock=SystemClock()) as calls:
        costs = await measure(calls, options.table, shards=options.shards or DEFAULT_SHARDS)
    sys.stdout.write(f"{table_of(costs)}\n")
    return 0


def _tags(texts: Sequence[str]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        if not key or not sign:
            raise ValueError(f"{text!r} is no tag; write it like 'service=orders'")
        tags[key] = value
    return tags


async def _open(url: str, *, create: bool, tags: Mapping[str, str]) -> int:
    options = DynamoDBOptions.from_url(ProviderUrl.parse(url))
    options = options.model_copy(update={"create_table": create})
    async with open_on_aws(options, clock=SystemClock(), tags=tags) as provider:
        sys.stdout.write(f"the table of {provider.description} is ready\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
