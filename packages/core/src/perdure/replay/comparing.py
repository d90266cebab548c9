"""What of a command must agree with the history, and where its values differ from it.

A command's kind, its name and the ids in it say what the code asks for; everything else is a
value. The one says whether an instance can go on at all, the other is told by its path in the
value, never by the value itself, which may be secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from typing import cast, get_args

from pydantic_core import from_json

from perdure import history
from perdure.history import Event, TimerCreated
from perdure.model.details import ErrorDetails

_MUST_AGREE: Mapping[type[Event], tuple[str, ...]] = {
    history.ActivityScheduled: ("name", "attempt"),
    history.TimerCreated: ("purpose",),
    history.WaitCreated: ("name",),
    history.ChildScheduled: ("name", "instance"),
    history.DetachedScheduled: ("name", "instance"),
    history.WorkCancelled: ("scheduled",),
}
_OWN_FIELDS: Mapping[type[Event], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind) if field.name not in ("event_id", "at"))
    for kind in cast("tuple[type[Event], ...]", get_args(Event))
}
_TEXTS = frozenset({"input", "output", "retry"})
"""Fields that are JSON text."""
_MOST_PATHS = 5
"""How many places of one value are named."""
_LONGEST_KEY = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueDifference:
    """A value that the code asked for differs from the recorded one, which counts."""

    event_id: int
    """The number of the first event where it does."""
    kind: str
    """The kind of that event, such as `ActivityScheduled`."""
    name: str
    """The name of what was asked for; empty where it has none."""
    field: str
    """Which of the event's fields, such as `input`, `fire_at` or `retry`."""
    path: str
    """The place in the value, such as `$.messages[0]`; `$` is the whole."""

    def __str__(self) -> str:
        of = f" {self.name!r}" if self.name else ""
        return f"{self.field} {self.path} of {self.kind}{of}"


def own_fields(kind: type[Event]) -> tuple[str, ...]:
    """The names of an event's fields, but for those that all events have."""
    return _OWN_FIELDS[kind]


def identity(kind: type[Event], values: Mapping[str, object]) -> tuple[object, ...]:
    """What says that two commands of one kind ask for the same thing."""
    if kind is history.OrchestrationFailed:
        return (cast("ErrorDetails", values["details"]).type_name,)
    return tuple(values[name] for name in _MUST_AGREE.get(kind, ()))


def same_request(recorded: Event, asked: Mapping[str, object]) -> bool:
    """Whether a command of the recorded event's kind asks for the same thing."""
    kind = type(recorded)
    names = ("details",) if kind is history.OrchestrationFailed else _MUST_AGREE.get(kind, ())
    return identity(kind, {name: getattr(recorded, name) for name in names}) == identity(
        kind, asked
    )


def differences(recorded: Event, asked: Mapping[str, object]) -> list[ValueDifference]:
    """Where the values of a command differ from those of the recorded event.

    Both ask for the same thing.
    """
    settled = ("details", *_MUST_AGREE.get(type(recorded), ()))
    return [
        ValueDifference(
            event_id=recorded.event_id,
            kind=recorded.kind,
            name=str(getattr(recorded, "name", "")),
            field=name,
            path=path,
        )
        for name, value in asked.items()
        if name not in settled and not _is_of_the_engine(recorded, name)
        for path in _paths(name, getattr(recorded, name), value)
    ]


def _is_of_the_engine(recorded: Event, name: str) -> bool:
    """The limit for cleanup is a setting of the runtime, not a decision of the code."""
    return isinstance(recorded, TimerCreated) and (name, recorded.purpose) == ("fire_at", "cleanup")


def _paths(name: str, recorded: object, asked: object) -> list[str]:
    if recorded == asked:
        return []
    if name not in _TEXTS or not isinstance(recorded, str) or not isinstance(asked, str):
        return ["$"]
    try:
        before, now = cast("object", from_json(recorded)), cast("object", from_json(asked))
    except ValueError:
        return ["$"]
    return list(islice(_walk(before, now, "$"), _MOST_PATHS))


def _walk(recorded: object, asked: object, path: str) -> Iterator[str]:
    """The places where two JSON values differ; the order of keys is no difference."""
    if type(recorded) is not type(asked):
        yield path
    elif isinstance(recorded, dict):
        before, now = cast("dict[str, object]", recorded), cast("dict[str, object]", asked)
        for key in {**before, **now}:
            place = path + _member(key)
            if key in before and key in now:
                yield from _walk(before[key], now[key], place)
            else:
                yield place
    elif isinstance(recorded, list):
        first, second = cast("list[object]", recorded), cast("list[object]", asked)
        for number, (one, other) in enumerate(zip(first, second, strict=False)):
            yield from _walk(one, other, f"{path}[{number}]")
        if len(first) != len(second):
            yield f"{path}[{min(len(first), len(second))}]"
    elif recorded != asked and (recorded == recorded or asked == asked):  # NaN is like NaN
        yield path


def _member(key: str) -> str:
    short = key if len(key) <= _LONGEST_KEY else key[: _LONGEST_KEY - 3] + "..."
    return f".{short}" if key.isidentifier() and short == key else f"[{json.dumps(short)}]"
