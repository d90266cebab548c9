"""Checks of settings: each kind of value is converted or refused in one place, where it is made.

A setting that was accepted is of the type that it is declared with, so that nothing has to ask
again where it is used. A bool is no number, text is no collection of its characters, and NaN is
in no range. Every refusal names the setting, shows the value and says what to pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from perdure.errors import InvalidInput
from perdure.model.durations import to_duration

T = TypeVar("T")

Check = Callable[[Any, str], object]
"""Takes a value and the name of its setting; returns what is kept."""


def check_fields(settings: object) -> None:
    """Convert or refuse the fields of a frozen dataclass, by the types they are declared with.

    Durations, integers, numbers and flags, each with or without None; other types are left to
    the class itself.
    """
    for name, check in _checks_of(type(settings)):
        given = getattr(settings, name)
        kept = check(given, name)
        if kept is not given:
            object.__setattr__(settings, name, kept)


def to_integer(value: object, what: str, *, least: int | None = None) -> int:
    """An integer, or its subclass; at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"{what} {_show(value)} is not an integer; pass a whole number")
    if least is not None and value < least:
        raise InvalidInput(f"{what} {_show(value)} is out of range; pass {least} or more")
    return value


def to_number(value: object, what: str, *, least: float, most: float) -> float:
    """A number within a range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(
            f"{what} {_show(value)} is not a number; pass one from {least:g} to {most:g}"
        )
    if not least <= value <= most:  # so that NaN is out of range too
        raise InvalidInput(
            f"{what} {_show(value)} is out of range; pass a number from {least:g} to {most:g}"
        )
    return value


def to_flag(value: object, what: str) -> bool:
    """True or False, and nothing that only counts as one of them."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} {_show(value)} is neither True nor False; pass one of them")
    return value


def to_items(value: object, what: str, *, example: str) -> tuple[Any, ...]:
    """The items of a collection; text, and anything else that is no collection, is refused."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidInput(f"{what} {_show(value)} is not a collection; pass one, as in {example}")
    return tuple(cast("Iterable[object]", value))


def to_function(value: object, what: str) -> Callable[..., Any]:
    """A callable that answers at once: what an `async def` returns would count as true."""
    if not callable(value):
        raise InvalidInput(f"{what} {_show(value)} is not a function; pass one, or leave it out")
    if inspect.iscoroutinefunction(value):
        raise InvalidInput(f"{what} {_show(value)} is an async function; pass a plain one")
    return value


def require(value: object, kind: type[T], what: str, instead: str) -> T:
    """The value if it is of this class; `instead` says what to pass."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise InvalidInput(f"{what} {_show(value)} is not {article} {kind.__name__}; {instead}")
    return value


def _optional(check: Check) -> Check:
    return lambda value, what: None if value is None else check(value, what)


def _duration(value: object, what: str) -> timedelta:
    return to_duration(cast("timedelta", value), what)


def _number(value: object, what: str) -> float:
    return to_number(value, what, least=float("-inf"), most=float("inf"))


_BY_TYPE: dict[object, Check] = {
    timedelta: _duration,
    int: to_integer,
    float: _number,
    bool: to_flag,
}


@lru_cache(maxsize=64)
def _checks_of(kind: type) -> Collection[tuple[str, Check]]:
    found: list[tuple[str, Check]] = []
    for name, annotation in get_type_hints(kind).items():
        is_union = get_origin(annotation) in (Union, UnionType)
        members = get_args(annotation) if is_union else (annotation,)
        checks = [_BY_TYPE[each] for each in members if each in _BY_TYPE]
        if len(checks) == 1 and all(each in _BY_TYPE or each is NoneType for each in members):
            found.append((name, _optional(checks[0]) if NoneType in members else checks[0]))
    return tuple(found)


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
