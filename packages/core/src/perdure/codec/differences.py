"""What is wrong with a value that does not come back: where, why, and what to do about it.

A message names types, fields and keys, and never shows a value: it may be a secret.
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
"""How pydantic's serializers say that a value is of another type; they show the value."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a path: the place it starts from, and a field, a key or an index."""

    before: Path
    step: str | int


Path: TypeAlias = Step | None
"""A place within a value; None is the value itself. Made into text only for a message."""


def show(path: Path) -> str:
    """The place as JSONPath, such as `$.items[2].created`."""
    steps: list[str | int] = []
    while path is not None:
        steps.append(path.step)
        path = path.before
    return show_steps(reversed(steps))


def show_steps(steps: Iterable[str | int]) -> str:
    """The same, of the steps from the outside in; what is too long for a message is cut."""
    shown = "$" + "".join(map(_show_step, steps))
    return shown if len(shown) <= _LONGEST_PATH else shown[: _LONGEST_PATH - 1] + "…"


def _show_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    if step.isidentifier():
        return f".{step}"
    cut = step if len(step) <= _LONGEST_KEY else step[: _LONGEST_KEY - 1] + "…"
    return f"[{cut!r}]"


class DoesNotComeBack(ValueError):
    """A value whose text is not read as an equal value; `str` says where, why and the way out."""

    def __init__(self, path: Path | str, why: str, way_out: str) -> None:
        place = path if isinstance(path, str) else show(path)
        super().__init__(f"{place} {why}; {way_out}")


def explain(path: Path, value: object, back: object) -> DoesNotComeBack:
    """Say what the difference of a value and what came back most likely comes from."""
    kind, back_kind = type(value), type(back)
    name, back_name = kind.__name__, back_kind.__name__
    if hasattr(kind, "get_secret_value"):
        return DoesNotComeBack(
            path,
            "is a secret, of which only asterisks would be stored",
            "pass its get_secret_value() as a str, or let the activity read it from its resources",
        )
    if isinstance(value, float) and value - value != 0:
        return not_finite(path)
    if isinstance(value, datetime) and isinstance(back, datetime):
        return instant(path)
    if kind is back_kind:
        return DoesNotComeBack(
            path,
            f"comes back as another {name}",
            "look for a serializer that loses something, or a validator that changes what it gets",
        )
    if issubclass(kind, back_kind):
        return DoesNotComeBack(
            path,
            f"is of type {name} and comes back as its base {back_name}, without what {name} adds",
            f"annotate it as {name}, or as a union of the subclasses with a discriminator",
        )
    if _is_plain_data(kind) or _is_plain_data(back_kind):
        return DoesNotComeBack(
            path,
            f"is of type {name} and comes back as {back_name}",
            f"annotate it as {name}, put {name} first in a union, or pass a {back_name}",
        )
    return DoesNotComeBack(
        path,
        f"is of type {name} and comes back as {back_name}",
        f"give the union of {back_name} and {name} a discriminator",
    )


def not_finite(path: Path) -> DoesNotComeBack:
    """A float that JSON has no number for."""
    return DoesNotComeBack(
        path,
        "is NaN or infinity, which JSON has no number for",
        'annotate it as float alone, in a model with ser_json_inf_nan="strings", or pass None',
    )


def instant(path: Path) -> DoesNotComeBack:
    """An instant that another one comes back for."""
    return DoesNotComeBack(
        path,
        "is a datetime that comes back as another instant, since the text has no fractions of a"
        " minute in its offset",
        "convert it to UTC with astimezone(UTC)",
    )


def not_in_init(path: Path) -> DoesNotComeBack:
    """A field that decoding cannot set."""
    return DoesNotComeBack(
        path,
        "is a field with init=False, which decoding leaves at its default",
        "let __init__ take it, or make it a property",
    )


def entries_differ(
    path: Path, value: Mapping[object, object], back: Mapping[object, object]
) -> DoesNotComeBack:
    """Entries that are no longer there, or stand under other keys."""
    lost = [key for key in value if key not in back]
    if len(back) == len(value) or not lost or not all(type(key) is str for key in lost):
        return keys_differ(path, value)
    return DoesNotComeBack(
        Step(path, str(lost[0])),
        "has a key that the annotation does not have, and is not read",
        "add the key to the type, or leave it out",
    )


def keys_differ(path: Path, value: Mapping[object, object]) -> DoesNotComeBack:
    """Keys that are no longer the same, or no longer as many."""
    kinds = ", ".join(sorted({type(key).__name__ for key in value}))
    return DoesNotComeBack(
        path,
        f"has keys ({kinds}) that change or become equal as JSON, where every key is a text",
        "use texts without surrogates, or keys of one type that the annotation names",
    )


def many_texts(path: Path, value: object) -> DoesNotComeBack:
    """A value that is encoded otherwise when it is encoded again."""
    return DoesNotComeBack(
        path,
        f"is of type {type(value).__name__}, and has another text when it is encoded again",
        "look for a serializer that uses a clock, chance or the identity of an object",
    )


def reason_of(error: Exception, longest: int = 300) -> str:
    """The first thing that is wrong by an error, in one line."""
    if isinstance(error, DoesNotComeBack):
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
    """Whether the text of an error of pydantic quotes the value."""
    return isinstance(error, ValidationError) or _UNEXPECTED.search(str(error)) is not None


def _message(error: ErrorDetails) -> str:
    """What pydantic says, where it does not quote the value."""
    if error["type"] == "union_tag_invalid":
        return f"the tag is none of the expected ones: {error.get('ctx', {}).get('expected_tags')}"
    return error["msg"]


def _is_plain_data(kind: type) -> bool:
    return kind.__module__ in ("builtins", "datetime", "decimal", "uuid", "enum", "collections")
