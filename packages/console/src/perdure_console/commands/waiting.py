"""The commands `wait` and `result`."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from perdure import Client, Completed, Failed, InstanceInfo, InstanceNotFound, NotFound, Running

from perdure_console.choosing import Instance, duration_of
from perdure_console.program import DONE, FAILED, WORK, command
from perdure_console.session import Session
from perdure_console.texts import state_of, visible

if TYPE_CHECKING:
    from rich.status import Status


@command(WORK)
async def wait(
    session: Session,
    instance: Instance,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="DURATION", help="Wait no longer.")
    ] = None,
) -> int:
    """Wait until an instance has ended, and show meanwhile what it does. It need not exist yet."""
    limit = duration_of(timeout, "--timeout")
    async with session.client() as client:
        telling = asyncio.create_task(_tell(session, client, instance))
        try:
            status = await client.wait_for_orchestration(instance, limit)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
    return print_end(session, instance, status)


async def _tell(session: Session, client: Client, instance: str) -> None:
    """Show what the instance does, whenever that changes, until it is cancelled."""
    if session.as_json:
        return
    spinner = session.error.status("") if session.error.is_terminal else None
    with spinner or nullcontext():
        said = ""
        async for info in client.watch_instance(instance):
            doing = await _in_words(client, info)
            if doing != said:
                _say(session, spinner, doing)
                said = doing


async def _in_words(client: Client, info: InstanceInfo) -> str:
    try:
        description = await client.describe_instance(info.instance)
    except InstanceNotFound:
        return "is gone"
    status = description.info.custom_status
    return description.doing if status is None else f"{status}: {description.doing}"


def _say(session: Session, spinner: Status | None, doing: str) -> None:
    if spinner is None:
        session.note(doing)
    else:
        spinner.update(visible(doing))


@command(WORK)
async def result(session: Session, instance: Instance) -> int:
    """Print the result of an instance that has completed, as JSON."""
    async with session.client() as client:
        status = await client.get_orchestration_status(instance)
        if isinstance(status, NotFound):
            raise InstanceNotFound(instance)
        if isinstance(status, Running):
            state = state_of(await client.get_instance_info(instance))
            session.warn(
                f"{instance} is {state}, so it has no result yet; `perdure wait` waits for it"
            )
            return FAILED
    return print_end(session, instance, status)


def print_end(session: Session, instance: str, status: Completed | Failed) -> int:
    """Print how an instance ended, and return the exit code."""
    if isinstance(status, Completed):
        if session.as_json:
            output: object = json.loads(status.output)
            session.print_json({"instance": instance, "status": "Completed", "output": output})
        else:
            session.say(status.output)
        return DONE
    if session.as_json:
        plain = {"instance": instance, "status": "Failed", "failure": status.details}
        session.print_json(plain)
    session.warn(f"{instance} failed: {status.details.display_message()}")
    return FAILED
