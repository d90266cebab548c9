"""Errors for values that do not round-trip: the path, the reason and the advice.

A message names types, fields and keys, and never shows a value, which may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from pydantic_core import ErrorDetails, ValidationError

_LONGEST_KEY = 60
_LONGEST_PATH = 160
_UNEXPECTED = re.compile(
    r"Expected `([^`]+)`.*?\[(?:field_name='([^']*)', )?input_value=.*?, input_type=(\w+)", re.S
)
"""How pydantic's serializers report a value of another type; such a message shows the value."""


@dataclass(slots=True, eq=False, repr=False)
class Step:
    """One step of a path: the path before it, and a field, a key or an index."""

    before: Path
    step: str | int


Path: TypeAlias = Step | None
"""The location of a part in a value; None is the value itself. Rendered only for a message."""


def show(path: Path) -> str:
    """The path as JSONPath, such as `$.items[2].created`."""
    steps: list[str | int] = []
    while path is not None:
        steps.append(path.step)
        path = path.before
    return show_steps(reversed(steps))


def show_steps(steps: Iterable[str | int]) -> str:
    """The JSONPath of steps from the outside in; a long one is shortened."""
    shown = "$" + "".join(map(_show_step, steps))
    return shown if len(shown) <= _LONGEST_PATH else shown[: _LONGEST_PATH - 1] + "…"


def _show_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if step.isidentifier():
        return f".{step}"
    cut = step if len(step) <= _LONGEST_KEY else step[: _LONGEST_KEY - 1] + "…"
    return f"[{cut!r}]"


class DoesNotRoundTrip(ValueError):
    """A value whose text does not decode to an equal value; `str` has the path, reason and advice."""

    def __init__(self, path: Path | str, why: str, way_out: str) -> None:
        place = path if isinstance(path, str) else show(path)
        super().__init__(f"{place} {why}; {way_out}")


def explain(path: Path, value: object, back: object) -> DoesNotRoundTrip:
    """The most likely reason for the difference between a value and the decoded one."""
    kind, back_kind = type(value), type(back)
    name, back_name = kind.__name__, back_kind.__name__
    if hasattr(kind, "get_secret_value"):
        return DoesNotRoundTrip(
            path,
            "is a secret, of which only asterisks would be stored",
            "pass its get_secret_value() as a str, or let the activity read it from its resources",
        )
    if isinstance(value, float) and value - value != 0:
        return not_finite(path)
    if isinstance(value, datetime) and isinstance(back, datetime):
        return instant(path)
    if kind is back_kind:
        return DoesNotRoundTrip(
            path,
            f"comes back as another {name}",
            "look for a serializer that loses something, or a validator that changes what it gets",
        )
    if issubclass(kind, back_kind):
        return DoesNotRoundTrip(
            path,
            f"is of type {name} and comes back as its base {back_name}, without what {name} adds",
            f"annotate it as {name}, or as a union of the subclasses with a discriminator",
        )
    if _is_plain_data(kind) or _is_plain_data(back_kind):
        return DoesNotRoundTrip(
            path,
            f"is of type {name} and comes back as {back_name}",
            f"annotate it as {name}, put {name} first in a union, or pass a {back_name}",
        )
    return DoesNotRoundTrip(
        path,
        f"is of type {name} and comes back as {back_name}",
        f"give the union of {back_name} and {name} a discriminator",
    )


def not_finite(path: Path) -> DoesNotRoundTrip:
    """The reason if a float has no JSON number."""
    return DoesNotRoundTrip(
        path,
        "is NaN or infinity, which JSON has no number for",
        'annotate it as float alone, in a model with ser_json_inf_nan="strings", or pass None',
    )


def instant(path: Path) -> DoesNotRoundTrip:
    """The reason if a datetime decodes to another instant."""
    return DoesNotRoundTrip(
        path,
        "is a datetime that comes back as another instant, since the text has no fractions of a"
        " minute in its offset",
        "convert it to UTC with astimezone(UTC)",
    )


def not_in_init(path: Path) -> DoesNotRoundTrip:
    """The reason if decoding cannot set a field."""
    return DoesNotRoundTrip(
        path,
        "is a field with init=False, which decoding leaves at its default",
        "let __init__ take it, or make it a property",
    )


def entries_differ(
    path: Path, value: Mapping[object, object], back: Mapping[object, object]
) -> DoesNotRoundTrip:
    """The reason if entries are missing or have other keys."""
    lost = [key for key in value if key not in back]
    if len(back) == len(value) or not lost or not all(type(key) is str for key in lost):
        return keys_differ(path, value)
    return DoesNotRoundTrip(
        Step(path, str(lost[0])),
        "has a key that the annotation does not have, and is not read",
        "add the key to the type, or leave it out",
    )


def keys_differ(path: Path, value: Mapping[object, object]) -> DoesNotRoundTrip:
    """The reason if keys differ or have merged."""
    kinds = ", ".join(sorted({type(key).__name__ for key in value}))
    return DoesNotRoundTrip(
        path,
        f"has keys ({kinds}) that change or become equal as JSON, where every key is a text",
        "use texts without surrogates, or keys of one type that the annotation names",
    )


def many_texts(path: Path, value: object) -> DoesNotRoundTrip:
    """The error for a value that encodes to another text the second time."""
    return DoesNotRoundTrip(
        path,
        f"is of type {type(value).__name__}, and has another text when it is encoded again",
        "look for a serializer that uses a clock, chance or the identity of an object",
    )


def reason_of(error: Exception, longest: int = 300) -> str:
    """The first problem in an error, as one line."""
    if isinstance(error, DoesNotRoundTrip):
        return str(error)
    if isinstance(error, ValidationError):
        first, *others = error.errors(include_url=False, include_input=False)
        more = f" (and {len(others)} more)" if others else ""
        place = f"{show_steps(first['loc'])}: " if first["loc"] else ""
        text = f"{place}{_message(first)}{more}"
    elif (unexpected := _UNEXPECTED.search(str(error))) is not None:
        expected, field, found = unexpected.groups()
        place = f" in the field {field!r}" if field else ""
        text = f"expected {expected}{place}, found {found}"
    else:
        text = str(error).partition("\nFor further information")[0]
    line = " ".join(text.split()) or type(error).__name__
    return line if len(line) <= longest else line[: longest - 3] + "..."


def shows_value(error: Exception) -> bool:
    """Whether the message of a pydantic error quotes the value."""
    return isinstance(error, ValidationError) or _UNEXPECTED.search(str(error)) is not None


def _message(error: ErrorDetails) -> str:
    """The message of a pydantic error, unless it quotes the value."""
    if error["type"] == "union_tag_invalid":
        return f"the tag is none of the expected ones: {error.get('ctx', {}).get('expected_tags')}"
    return error["msg"]


def _is_plain_data(kind: type) -> bool:
    return kind.__module__ in ("builtins", "datetime", "decimal", "uuid", "enum", "collections")
