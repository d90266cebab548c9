"""What of a command must agree with the history, and where its values differ.

The kind of a command, its name and its ids identify the request; everything else is a value. An
instance cannot continue if a request differs. A value that differs is reported by its path, never
by its content, which may be secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import islice
from typing import cast, get_args

from pydantic_core import from_json

from perdure import history
from perdure.history import Event, TimerCreated
from perdure.model.details import ErrorDetails
from perdure.model.hidden_payload import hide_alike, is_hidden, may_be_equal
from perdure.model.record import record

_MUST_AGREE: Mapping[type[Event], tuple[str, ...]] = {
    history.ActivityScheduled: ("name", "attempt"),
    history.TimerCreated: ("purpose",),
    history.WaitCreated: ("name",),
    history.ChildScheduled: ("name", "instance"),
    history.DetachedScheduled: ("name", "instance"),
    history.WorkCancelled: ("scheduled",),
    history.ValueSet: ("key",),
    history.ValueRead: ("key",),
    history.EventPolled: ("name",),
    history.EventSent: ("instance", "name"),
}
_OWN_FIELDS: Mapping[type[Event], tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind) if field.name not in ("event_id", "at"))
    for kind in cast("tuple[type[Event], ...]", get_args(Event))
}
_TEXTS = frozenset({"input", "output", "retry", "data", "value"})
"""Fields that are JSON text."""
_MOST_PATHS = 5
"""How many paths of one value are reported."""
_LONGEST_KEY = 60


@record
class ValueDifference:
    """A value of the code that differs from the recorded one; the recorded value is used."""

    event_id: int
    """The number of the first event that differs."""
    kind: str
    """The kind of that event, such as `ActivityScheduled`."""
    name: str
    """The name of the activity, orchestration or event; empty if there is none."""
    field: str
    """The field of the event, such as `input`, `fire_at` or `retry`."""
    path: str
    """The path in the value, such as `$.messages[0]`; `$` is the whole value."""

    def __str__(self) -> str:
        of = f" {self.name!r}" if self.name else ""
        return f"{self.field} {self.path} of {self.kind}{of}"


def own_fields(kind: type[Event]) -> tuple[str, ...]:
    """The names of an event's fields, without those that all events have."""
    return _OWN_FIELDS[kind]


def identity(kind: type[Event], values: Mapping[str, object]) -> tuple[object, ...]:
    """What two commands of one kind must have in common to be the same request."""
    if kind is history.OrchestrationFailed:
        return (cast("ErrorDetails", values["details"]).type_name,)
    return tuple(values[name] for name in _MUST_AGREE.get(kind, ()))


def same_request(recorded: Event, asked: Mapping[str, object]) -> bool:
    """Whether a command of the recorded event's kind is the same request."""
    kind = type(recorded)
    names = ("details",) if kind is history.OrchestrationFailed else _MUST_AGREE.get(kind, ())
    return identity(kind, {name: getattr(recorded, name) for name in names}) == identity(
        kind, asked
    )


def hidden_alike(recorded: Event, asked: Mapping[str, object]) -> dict[str, object]:
    """The values of a command with those payloads hidden that are hidden in the recorded event."""
    hidden = dict(asked)
    for name in _TEXTS.intersection(asked):
        text, value = getattr(recorded, name), asked[name]
        if isinstance(text, str) and isinstance(value, str) and is_hidden(text):
            hidden[name] = hide_alike(value, text)
    return hidden


def differences(recorded: Event, asked: Mapping[str, object]) -> list[ValueDifference]:
    """Where the values of a command differ from those of the recorded event for the same request."""
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
    """Whether the field is set by the runtime, not by the code, as the time limit of a cleanup is."""
    if isinstance(recorded, history.ValueSet):
        return name == "value" and recorded.refused
    return isinstance(recorded, TimerCreated) and (name, recorded.purpose) == ("fire_at", "cleanup")


def _paths(name: str, recorded: object, asked: object) -> list[str]:
    if recorded == asked:
        return []
    if name not in _TEXTS or not isinstance(recorded, str) or not isinstance(asked, str):
        return ["$"]
    if is_hidden(recorded) or is_hidden(asked):
        return [] if may_be_equal(recorded, asked) else ["$"]
    try:
        before, now = cast("object", from_json(recorded)), cast("object", from_json(asked))
    except ValueError:
        return ["$"]
    return list(islice(_walk(before, now, "$"), _MOST_PATHS))


def _walk(recorded: object, asked: object, path: str) -> Iterator[str]:
    """The paths at which two JSON values differ; the order of keys does not count."""
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
