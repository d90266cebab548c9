"""The commands `start` and `raise`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import typer
from perdure import EventArrival
from perdure.errors import InvalidInput

from perdure_console.choosing import (
    Instance,
    Labels,
    Version,
    duration_of,
    labels_of,
    moment_of,
    payload_of,
)
from perdure_console.program import DONE, FAILED, WORK, command
from perdure_console.session import Session


class IfExists(StrEnum):
    """What a start does if its id is in use."""

    RAISE = "raise"
    RETURN = "return"
    REPLACE_ENDED = "replace-ended"


_IF_EXISTS: dict[IfExists, Literal["raise", "return", "replace_ended"]] = {
    IfExists.RAISE: "raise",
    IfExists.RETURN: "return",
    IfExists.REPLACE_ENDED: "replace_ended",
}
_MET = {
    EventArrival.RUNNING: "a running instance takes it",
    EventArrival.EARLY: "no instance has this id yet; the event is kept for it",
    EventArrival.LATE: "the instance had ended; the event is ignored",
}


@command(WORK)
async def start(
    session: Session,
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="Its id.")],
    orchestration: Annotated[str, typer.Argument(metavar="ORCHESTRATION", help="Its name.")],
    input: Annotated[
        str | None,
        typer.Argument(metavar="[INPUT]", help="JSON, @file, or @- for the standard input."),
    ] = None,
    version: Version = None,
    label: Labels = None,
    delay: Annotated[
        str | None, typer.Option("--delay", metavar="DURATION", help="Begin so much later.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="WHEN", help="Begin at an instant.")
    ] = None,
    if_exists: Annotated[
        IfExists, typer.Option("--if-exists", help="What to do if the id is in use.")
    ] = IfExists.RAISE,
) -> int:
    """Start an instance; a runtime that has the orchestration runs it.

    The storage is created if it does not exist.
    """
    begins = duration_of(delay, "--delay")
    moment = moment_of(at, "--at")
    text = payload_of(input, "the input")
    async with session.client(create=True) as client:
        await client.start_orchestration(
            instance,
            orchestration,
            text,
            version=version,
            labels=labels_of(label),
            delay=begins,
            start_at=moment,
            if_exists=_IF_EXISTS[if_exists],
        )
    if session.as_json:
        session.print_json({"instance": instance, "orchestration": orchestration})
    else:
        session.say(f"started {instance}, an instance of {orchestration}")
    return DONE


@command(WORK, "raise")
async def raise_(
    session: Session,
    instance: Instance,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Its name.")],
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="JSON, @file, or @- for the standard input."),
    ] = None,
    event_id: Annotated[
        str | None,
        typer.Option("--event-id", metavar="ID", help="An instance takes an id once."),
    ] = None,
) -> int:
    """Raise an external event to an instance."""
    if not event:
        raise InvalidInput("the event has no name; write it behind the instance")
    text = payload_of(data, "the data")
    async with session.client() as client:
        arrival = await client.raise_event(instance, event, text, event_id=event_id)
    if session.as_json:
        session.print_json({"instance": instance, "event": event, "arrival": arrival})
    else:
        session.say(f"raised {event} to {instance}: {_MET[arrival]}")
    return FAILED if arrival is EventArrival.LATE else DONE
