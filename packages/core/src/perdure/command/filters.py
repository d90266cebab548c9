"""The options by which a command chooses instances."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Final

from perdure.client.instance_filter import InstanceFilter
from perdure.errors import InvalidInput

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def add_filters(command: argparse.ArgumentParser, *, whole_trees: bool = False) -> None:
    """The options that choose instances; commands that take whole trees find only roots."""
    several = command.add_argument_group("instances")
    several.add_argument(
        "--status", action="append", metavar="STATUS", help="Running, Completed or Failed"
    )
    several.add_argument("--orchestration", action="append", metavar="NAME")
    several.add_argument("--prefix", default="", metavar="TEXT", help="how the id begins")
    several.add_argument(
        "--label", action="append", type=_label, metavar="KEY=VALUE", help="a label that they have"
    )
    for word in ("created", "updated"):
        for side in ("after", "before"):
            several.add_argument(
                f"--{word}-{side}",
                type=_moment,
                metavar="WHEN",
                help="an instant, such as 2030-01-31T12:00Z, or an age, such as 90m, 12h or 30d",
            )
    if not whole_trees:
        several.add_argument("--parked", action="store_true", help="only what is parked")
        several.add_argument("--roots", action="store_true", help="only without a parent")
        several.add_argument("--parent", metavar="INSTANCE", help="only the children of this one")


def filter_of(options: argparse.Namespace) -> InstanceFilter:
    """The filter of a command's options."""
    return InstanceFilter(
        status=options.status or (),
        orchestration=options.orchestration or (),
        id_prefix=options.prefix,
        labels=dict(options.label or ()),
        created_after=options.created_after,
        created_before=options.created_before,
        updated_after=options.updated_after,
        updated_before=options.updated_before,
        parked=True if getattr(options, "parked", False) else None,
        roots_only=getattr(options, "roots", False),
        parent=getattr(options, "parent", None),
    )


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no label; write it as KEY=VALUE")
    return key, value


def _moment(text: str) -> datetime:
    """An instant, or one that is so long ago."""
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is not None and number.isdigit():
        return datetime.now(UTC) - timedelta(**{unit: int(number)})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither an instant, such as 2030-01-31T12:00Z, nor an age, such as 30d"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def refuse_both(instances: list[str], limit: int | None) -> None:
    """Raise `InvalidInput` unless either ids or a limit for what matches are given."""
    if instances and limit is not None:
        raise InvalidInput("ids and --limit are both given; --limit is for instances that match")
    if not instances and limit is None:
        raise InvalidInput("no instance is named; give ids, or options to match and --limit")
