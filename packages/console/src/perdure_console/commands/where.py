"""The command `where`: the lines of code at which an instance stands, now or at any event."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final

import typer

from perdure_console.applications import load_app
from perdure_console.choosing import Execution, Instance
from perdure_console.program import CODE, DONE, FAILED, command
from perdure_console.session import Session
from perdure_console.texts import visible

if TYPE_CHECKING:
    from perdure.testing import Location, SourceLine, TaskPosition

_AROUND: Final = 2
"""How many lines are shown before and behind the one that waits."""


@command(CODE)
async def where(
    session: Session,
    instance: Instance,
    app: Annotated[
        str, typer.Option("--app", metavar="MODULE:APP", help="The registry with its code.")
    ],
    event: Annotated[
        int | None, typer.Option("--event", metavar="N", help="As of this event of its history.")
    ] = None,
    execution: Execution = None,
) -> int:
    """Show the lines of code at which each task of an instance stands.

    Its history is replayed in this process; nothing runs, nothing is written.
    """
    from perdure.testing import locate

    registries = load_app(app)
    async with session.client() as client:
        number = execution or (await client.get_instance_info(instance)).execution
        events = await client.read_execution_history(instance, number)
    if not events:
        session.warn(f"{instance} has not run yet, so its code stands nowhere")
        return FAILED
    location = locate(events, registries, event=event)
    if session.as_json:
        session.print_json(location)
    else:
        _print(session, location)
    if location.disagreement:
        session.warn(location.disagreement)
        return FAILED
    return DONE


def _print(session: Session, location: Location) -> None:
    of = f"{location.instance}, execution {location.execution}, at event {location.event}"
    session.say(f"{of} ({location.orchestration} {location.version})", style="bold")
    if location.has_ended:
        session.say("it has ended there; --event N shows where it stood before")
    for task in location.tasks:
        for line in _lines(task):
            session.say(line)
        if session.out.is_terminal and task.lines:
            _print_source(session, task.lines[-1])


def _lines(task: TaskPosition) -> Iterator[str]:
    waits = ", ".join(task.waits_for) or "its turn"
    yield f"{task.name} waits for {waits}"
    for each in task.lines:
        yield f"  {each.file}:{each.line} in {each.function}: {each.text}"


def _print_source(session: Session, line: SourceLine) -> None:
    source = linecache.getlines(line.file)
    if not source:
        return
    from rich.syntax import Syntax
    from rich.text import Text

    first = max(1, line.line - _AROUND)
    shown = "".join(map(_visible_line, source[first - 1 : line.line + _AROUND]))
    code = Syntax(
        shown,
        "python",
        line_numbers=True,
        start_line=first,
        highlight_lines={line.line},
        theme="ansi_dark",
        background_color="default",
    )
    session.out.print(code)
    session.out.print(Text(""))


def _visible_line(text: str) -> str:
    return f"{visible(text.rstrip())}\n"
