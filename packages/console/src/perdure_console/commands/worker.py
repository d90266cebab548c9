"""The command `worker`: runs a runtime until the process is asked to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

import perdure
import typer
from perdure import Registry, RuntimeOptions
from perdure.errors import InvalidInput

from perdure_console.applications import load_app, load_object
from perdure_console.program import DONE, SERVE, command
from perdure_console.session import Session
from perdure_console.working.health import address_of, answering
from perdure_console.working.logs import set_up
from perdure_console.working.reloading import run_with_reload
from perdure_console.working.resources import opened

_LOGGER = logging.getLogger("perdure.worker")


class LogLevel(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines look."""

    TEXT = "text"
    JSON = "json"


@command(SERVE)
async def worker(
    session: Session,
    app: Annotated[
        str, typer.Argument(metavar="MODULE:APP", help="The registry, such as shop.orders:app.")
    ],
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="TAG", help="Serve activities with this tag; repeatable."),
    ] = None,
    only_tagged: Annotated[
        bool, typer.Option("--only-tagged", help="Leave activities without a tag to others.")
    ] = False,
    resources: Annotated[
        str | None,
        typer.Option(
            "--resources", metavar="MODULE:NAME", help="What activities find in their context."
        ),
    ] = None,
    options: Annotated[
        str | None,
        typer.Option("--options", metavar="MODULE:NAME", help="The RuntimeOptions to run with."),
    ] = None,
    health: Annotated[
        str | None,
        typer.Option("--health", metavar="[HOST]:PORT", help="Answer /livez and /readyz."),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option("--log-format")] = LogFormat.TEXT,
    log_level: Annotated[LogLevel, typer.Option("--log-level")] = LogLevel.INFO,
    reload: Annotated[
        bool, typer.Option("--reload", help="Begin again whenever a Python file changes.")
    ] = False,
) -> int:
    """Run orchestrations and activities until SIGTERM or Ctrl-C.

    The worker then lets activities finish for a while; a second signal ends it at once. The storage
    is created if it does not exist.
    """
    session.require_url()
    if health is not None:
        address_of(health)
    if reload:
        return run_with_reload(_without_reload(), session.note)
    set_up(as_json=log_format is LogFormat.JSON or session.as_json, level=log_level)
    registries = load_app(app)
    chosen = _options(options, tag, only_tagged=only_tagged)
    async with session.open_provider(create=True) as provider, opened(resources) as found:
        runtime = perdure.Runtime(provider, *registries, resources=found, options=chosen)
        async with answering(runtime, health), runtime:
            # Told once signals are handled: a supervisor that reads it may send one at once.
            told = "; ".join(_serves(provider.description, registries, chosen))
            asyncio.get_running_loop().call_soon(_LOGGER.info, "%s", told)
            await runtime.run_until_stopped()
    _LOGGER.info("the worker has stopped")
    return DONE


def _without_reload() -> list[str]:
    """The words of this command, for the process that does the work."""
    return [word for word in sys.argv[1:] if word != "--reload"]


def _options(path: str | None, tags: Sequence[str] | None, *, only_tagged: bool) -> RuntimeOptions:
    options = RuntimeOptions() if path is None else load_object(path, "options")
    if not isinstance(options, RuntimeOptions):
        raise InvalidInput(f"{path!r} is no RuntimeOptions; name an object of that class")
    if only_tagged and not tags:
        raise InvalidInput("--only-tagged needs --tag, or the worker serves no activity")
    if not tags:
        return options
    served = {*tags} if only_tagged else {None, *tags}
    return replace(options, tags=frozenset(served))


def _serves(storage: str, registries: Sequence[Registry], options: RuntimeOptions) -> Iterator[str]:
    """What this worker does, in words."""
    orchestrations = sorted(
        {f"{each.name} {each.version}" for app in registries for each in app.orchestrations()}
    )
    activities = sorted({each.name for app in registries for each in app.activities()})
    tags = sorted(tag or "untagged" for tag in options.tags)
    yield f"worker {os.getpid()} serves {storage}"
    yield f"orchestrations: {', '.join(orchestrations) or 'none'}"
    yield f"activities: {', '.join(activities) or 'none'}"
    yield f"tags: {', '.join(tags)}"
