"""The options by which a command chooses instances, and the arguments that commands share."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer
from perdure import InstanceFilter
from perdure.errors import InvalidInput

from perdure_console.completion import complete_ids

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

_STATUSES: Final = ("running", "completed", "failed")
_STATUSES_IN_WORDS: Final = "running, completed or failed"

_WHEN: Final = "an instant, such as 2030-01-31T12:00Z, or an age, such as 90m, 12h or 30d"

Instance: TypeAlias = Annotated[
    str, typer.Argument(metavar="INSTANCE", autocompletion=complete_ids, show_default=False)
]
Instances: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="INSTANCE", autocompletion=complete_ids, show_default=False),
]
Reason: TypeAlias = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Recorded.", show_default=False)
]
Version: TypeAlias = Annotated[
    str | None, typer.Option("--version", metavar="VERSION", help="Pin it to this version.")
]
Execution: TypeAlias = Annotated[
    int | None, typer.Option("--execution", metavar="N", help="By default the newest.")
]
Labels: TypeAlias = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="A label; repeatable.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RootChoice:
    """Conditions for commands that take whole trees."""

    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", metavar="STATUS", help="Running, completed or failed; repeatable."
        ),
    ] = None
    orchestration: Annotated[
        list[str] | None, typer.Option("--orchestration", metavar="NAME", help="Repeatable.")
    ] = None
    prefix: Annotated[
        str, typer.Option("--prefix", metavar="TEXT", help="How the id begins.", show_default=False)
    ] = ""
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="KEY=VALUE", help="A label that they have; repeatable."),
    ] = None
    created_after: Annotated[
        str | None,
        typer.Option("--created-after", metavar="WHEN", help=f"{_WHEN[0].upper()}{_WHEN[1:]}."),
    ] = None
    created_before: Annotated[str | None, typer.Option("--created-before", metavar="WHEN")] = None
    updated_after: Annotated[str | None, typer.Option("--updated-after", metavar="WHEN")] = None
    updated_before: Annotated[str | None, typer.Option("--updated-before", metavar="WHEN")] = None

    @property
    def filter(self) -> InstanceFilter:
        """The filter for the client."""
        return _filter_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(RootChoice):
    """Conditions on any instances."""

    parked: Annotated[bool, typer.Option("--parked", help="Only what is parked.")] = False
    roots: Annotated[bool, typer.Option("--roots", help="Only without a parent.")] = False
    parent: Annotated[
        str | None,
        typer.Option("--parent", metavar="INSTANCE", help="Only the children of this one."),
    ] = None

    @property
    def filter(self) -> InstanceFilter:
        """The filter for the client."""
        return replace(
            _filter_of(self),
            parked=True if self.parked else None,
            roots_only=self.roots,
            parent=self.parent,
        )


def _filter_of(choice: RootChoice) -> InstanceFilter:
    return InstanceFilter(
        status=[_status_of(each) for each in choice.status or ()],
        orchestration=choice.orchestration or (),
        id_prefix=choice.prefix,
        labels=labels_of(choice.label),
        created_after=moment_of(choice.created_after, "--created-after"),
        created_before=moment_of(choice.created_before, "--created-before"),
        updated_after=moment_of(choice.updated_after, "--updated-after"),
        updated_before=moment_of(choice.updated_before, "--updated-before"),
    )


def _status_of(text: str) -> str:
    if text.lower() not in _STATUSES:
        raise InvalidInput(f"--status {text!r} is unknown; pass {_STATUSES_IN_WORDS}")
    return text.capitalize()


def refuse_both(instances: list[str] | None, limit: int | None) -> None:
    """Raise `InvalidInput` unless either ids or a limit for what matches are given."""
    if instances and limit is not None:
        raise InvalidInput("ids and --limit are both given; --limit is for instances that match")
    if not instances and limit is None:
        raise InvalidInput("no instance is named; give ids, or options to match and --limit")


def labels_of(texts: list[str] | None) -> dict[str, str]:
    """The labels of `KEY=VALUE` texts; raises `InvalidInput`."""
    labels: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"{text!r} is no label; write it as KEY=VALUE")
        labels[key] = value
    return labels


def moment_of(text: str | None, option: str) -> datetime | None:
    """An instant, or one that is so long ago; raises `InvalidInput`."""
    if text is None:
        return None
    try:
        age = _duration(text)
        if age is not None:
            return datetime.now(UTC) - age
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidInput(f"{option} {text!r} is neither {_WHEN.replace(' or', ' nor')}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def duration_of(text: str | None, option: str) -> timedelta | None:
    """A duration such as `90m`, or seconds; raises `InvalidInput`."""
    if text is None:
        return None
    found = _duration(text if text[-1:] in _UNITS else f"{text}s")
    if found is None:
        raise InvalidInput(f"{option} {text!r} is no duration; write it like 90s, 15m, 12h or 30d")
    return found


def _duration(text: str) -> timedelta | None:
    unit = _UNITS.get(text[-1:])
    try:
        number = float(text[:-1])
        return None if unit is None or number < 0 else timedelta(**{unit: number})
    except (ValueError, OverflowError):
        return None


def payload_of(text: str | None, what: str) -> str | None:
    """JSON text, as it is or from a file: `@order.json`, or `@-` for the standard input."""
    found = _text_of(text, what)
    if found is not None:
        try:
            json.loads(found)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(
                f"{what} {str(text)[:60]!r} is not JSON: {error}; a text needs its quotes, as in"
                " '\"lamp\"'"
            ) from None
    return found


def _text_of(text: str | None, what: str) -> str | None:
    if text is None or not text.startswith("@"):
        return text
    if text == "@-":
        return sys.stdin.read()
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidInput(f"{what} {text!r} cannot be read: {reason}") from None
