"""The commands `show`, `tree` and `history`: one instance, with all that belongs to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from perdure import Client, InstanceDescription, InstanceStatus, InstanceTree
from perdure.history import Event

from perdure_console.choosing import Execution, Instance
from perdure_console.program import DONE, LOOK, command
from perdure_console.records import event_to_plain
from perdure_console.session import Session
from perdure_console.texts import colour_of, in_utc, state_of, visible

if TYPE_CHECKING:
    from rich.tree import Tree


@command(LOOK)
async def show(session: Session, instance: Instance) -> int:
    """Show an instance: what it has done, what it waits for, and what it is doing now."""
    async with session.client() as client:
        description = await client.describe_instance(instance)
    if session.as_json:
        session.print_json(description)
    else:
        session.print_fields(_fields(description))
    return DONE


def _fields(description: InstanceDescription) -> Iterator[tuple[str, str]]:
    info = description.info
    yield "instance", info.instance
    yield "orchestration", f"{info.orchestration_name} {info.orchestration_version or ''}".rstrip()
    yield "status", state_of(info)
    yield "doing", description.doing
    if info.custom_status is not None:
        yield "custom status", info.custom_status
    if info.parent_instance is not None:
        yield "parent", info.parent_instance
    for key, value in info.labels.items():
        yield "label", f"{key}={value}"
    yield "created", in_utc(info.created_at)
    yield "updated", in_utc(info.updated_at)
    events, size = description.event_count, description.history_bytes
    yield "history", f"execution {info.execution}, {events} events, {size} bytes"
    if description.damage is not None:
        yield "damage", description.damage
    if info.output is not None:
        yield "output", info.output
    for key, value in description.values.items():
        yield "value", f"{key} = {value}"
    yield from _open_work(description)


def _open_work(description: InstanceDescription) -> Iterator[tuple[str, str]]:
    for activity in description.activities:
        where = "waits" if activity.leased_until is None else "runs"
        attempt = f"attempt {activity.attempt}, delivery {activity.delivery}"
        yield "activity", f"{activity.name} {where} since {in_utc(activity.since)} ({attempt})"
        if activity.last_failure is not None:
            yield "last failure", activity.last_failure.display_message()
    for wait in description.waits:
        yield "wait", f"event {wait.name!r} since {in_utc(wait.since)}"
    for timer in description.timers:
        yield "timer", f"{timer.purpose} until {in_utc(timer.due)}"
    for event in description.kept_events:
        yield "kept event", f"{event.name!r} since {in_utc(event.at)}"
    for child in description.children:
        yield "child", f"{child.instance} {state_of(child)}"


@command(LOOK)
async def tree(session: Session, instance: Instance) -> int:
    """Show an instance with its children, and theirs."""
    async with session.client() as client:
        root = await client.get_instance_tree(instance)
    if session.as_json:
        session.print_json(root)
    elif session.out.is_terminal:
        session.out.print(_drawn(root))
    else:
        for node, depth in _nodes(root):
            session.say(f"{'  ' * depth}{_line(node)}")
    return DONE


def _nodes(root: InstanceTree) -> Iterator[tuple[InstanceTree, int]]:
    waiting = [(root, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting.extend((child, depth + 1) for child in reversed(node.children))


def _line(node: InstanceTree) -> str:
    info = node.info
    return f"{info.instance}  {info.orchestration_name}  {state_of(info)}"


def _drawn(root: InstanceTree) -> Tree:
    from rich.text import Text
    from rich.tree import Tree

    branches: list[Tree] = []
    for node, depth in _nodes(root):
        label = Text(visible(_line(node)), style=colour_of(state_of(node.info)))
        branch = Tree(label) if depth == 0 else branches[depth - 1].add(label)
        branches[depth:] = [branch]
    return branches[0]


@command(LOOK)
async def history(
    session: Session,
    instance: Instance,
    execution: Execution = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the instance has ended.")
    ] = False,
) -> int:
    """Show the events of an execution, oldest first."""
    async with session.client() as client:
        if not follow:
            chosen = execution or (await client.get_instance_info(instance)).execution
            events = await client.read_execution_history(instance, chosen)
            if session.as_json:
                plain = [event_to_plain(event) for event in events]
                session.print_json({"instance": instance, "execution": chosen, "events": plain})
            else:
                for event in events:
                    session.say(str(event))
            return DONE
        await client.get_instance_info(instance)  # to follow a misspelt id would have no end
        async for number, event in followed(client, instance, execution):
            if session.as_json:
                session.print_json_line({"execution": number, **event_to_plain(event)})
            else:
                session.say(str(event))
    return DONE


async def followed(
    client: Client, instance: str, execution: int | None
) -> AsyncGenerator[tuple[int, Event]]:
    """The events of an instance from this execution on, as they come, until it has ended."""
    number, last = execution, 0
    async for info in client.watch_instance(instance):
        number = number or info.execution
        while True:
            events = await client.read_execution_history(instance, number, after=last)
            for event in events:
                last = event.event_id
                yield number, event
            if number >= info.execution:
                break
            number, last = number + 1, 0
        if info.status is not InstanceStatus.RUNNING:
            return
