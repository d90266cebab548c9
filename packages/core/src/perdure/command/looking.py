"""The commands `list`, `describe` and `tree`: they only read.

perdure list sqlite:///live.db --status Failed --updated-after 1d
perdure describe sqlite:///live.db order-1
perdure tree sqlite:///live.db order-1 --json
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from perdure.client.description import InstanceDescription
from perdure.client.info import InstanceInfo
from perdure.client.trees import InstanceTree
from perdure.command.answers import (
    DONE,
    Commands,
    add_url,
    client_of,
    count,
    in_utc,
    print_json,
    print_table,
    state_in_words,
)
from perdure.command.filters import add_filters, filter_of


def add_commands(commands: Commands) -> None:
    """Add the commands to the parser."""
    listing = commands.add_parser("list", help="list instances, newest first")
    add_url(listing)
    add_filters(listing)
    listing.add_argument("--limit", type=count, default=50, metavar="N", help="by default 50")
    listing.add_argument("--token", metavar="TOKEN", help="go on behind the page that printed it")
    listing.set_defaults(run=_list)

    describe = commands.add_parser("describe", help="show an instance, and what it is doing now")
    add_url(describe)
    describe.add_argument("instance", metavar="INSTANCE")
    describe.set_defaults(run=_describe)

    tree = commands.add_parser("tree", help="show an instance with its children")
    add_url(tree)
    tree.add_argument("instance", metavar="INSTANCE")
    tree.set_defaults(run=_tree)


async def _list(options: argparse.Namespace) -> int:
    found: list[InstanceInfo] = []
    token: str | None = options.token
    async with client_of(options.url) as client:
        # A page may come back short; the next ones fill it up.
        while True:
            page = await client.list_instances(
                filter_of(options), limit=min(options.limit - len(found), 1000), token=token
            )
            found.extend(page)
            token = page.next_token
            if token is None or len(found) == options.limit:
                break
    if options.json:
        print_json({"instances": found, "next_token": token})
        return DONE
    print_table(
        ("INSTANCE", "ORCHESTRATION", "STATUS", "UPDATED (UTC)"),
        (
            (info.instance, info.orchestration_name, state_in_words(info), in_utc(info.updated_at))
            for info in found
        ),
    )
    if token is not None:
        print(f"there are more: --token {token}")
    return DONE


async def _describe(options: argparse.Namespace) -> int:
    async with client_of(options.url) as client:
        description = await client.describe_instance(options.instance)
    if options.json:
        print_json(description)
        return DONE
    for name, text in _lines(description):
        print(f"{name + ':':<14} {text}")
    return DONE


def _lines(description: InstanceDescription) -> Iterable[tuple[str, str]]:
    info = description.info
    yield "instance", info.instance
    yield "orchestration", f"{info.orchestration_name} {info.orchestration_version or ''}".rstrip()
    yield "status", state_in_words(info)
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
        yield "child", f"{child.instance} {state_in_words(child)}"


async def _tree(options: argparse.Namespace) -> int:
    async with client_of(options.url) as client:
        tree = await client.get_instance_tree(options.instance)
    if options.json:
        print_json(tree)
        return DONE
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        print(_branch(node, depth))
        waiting.extend((child, depth + 1) for child in reversed(node.children))
    return DONE


def _branch(node: InstanceTree, depth: int) -> str:
    info = node.info
    return f"{'  ' * depth}{info.instance}  {info.orchestration_name}  {state_in_words(info)}"
