"""Checks of settings: each kind of value is converted or refused in one place, where it is made.

A setting that was accepted is of the type that it is declared with, so that nothing has to ask
again where it is used. A bool is no number, text is no collection of its characters, and NaN is
in no range. Every refusal names the setting, shows the value and says what to pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import lru_cache, partial
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from perdure.errors import InvalidInput
from perdure.model.durations import to_duration
from perdure.model.shown import shown

T = TypeVar("T")

Check = Callable[[Any, str], object]
"""Takes a value and the name of its setting; returns what is kept."""

LARGEST_COUNT = 1_000_000_000
"""Of anything that is counted: it fits the integers of every store."""


def to_integer(value: object, what: str, *, least: int = 0, most: int = LARGEST_COUNT) -> int:
    """An integer within a range."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(
            f"{what} {shown(value)} is not an integer; pass a whole number from {least} to {most}"
        )
    if not least <= value <= most:
        raise InvalidInput(
            f"{what} {shown(value)} is out of range; pass a whole number from {least} to {most}"
        )
    return value


def to_number(value: object, what: str, *, least: float, most: float) -> float:
    """A number within a range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(
            f"{what} {shown(value)} is not a number; pass one from {least:g} to {most:g}"
        )
    if not least <= value <= most:  # so that NaN is out of range too
        raise InvalidInput(
            f"{what} {shown(value)} is out of range; pass a number from {least:g} to {most:g}"
        )
    return value


def to_flag(value: object, what: str) -> bool:
    """True or False, and nothing that only counts as one of them."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} {shown(value)} is neither True nor False; pass one of them")
    return value


def to_items(value: object, what: str, *, example: str) -> tuple[Any, ...]:
    """The items of a collection; text, and anything else that is no collection, is refused."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidInput(f"{what} {shown(value)} is not a collection; pass one, as in {example}")
    return tuple(cast("Iterable[object]", value))


def to_exceptions(value: object, what: str) -> tuple[type[BaseException], ...]:
    """Classes of exceptions."""
    classes = to_items(value, what, example="(TypeError,)")
    for each in classes:
        if not (isinstance(each, type) and issubclass(cast("type[object]", each), BaseException)):
            raise InvalidInput(
                f"{what} has {shown(cast('object', each))}, which is no class of exceptions; pass"
                " classes, as in (TypeError,)"
            )
    return classes


def to_function(value: object, what: str, *arguments: str) -> Callable[..., Any]:
    """A callable that takes these arguments by position, and answers at once.

    What an `async def` or a generator returns would count as true, and so would an object of a
    class.
    """
    if not callable(value) or isinstance(value, type):
        raise InvalidInput(f"{what} {shown(value)} is not a function; pass one, or leave it out")
    if _answers_later(value) or _answers_later(getattr(value, "__call__", None)):  # noqa: B004 # an object with an async __call__
        raise InvalidInput(
            f"{what} {shown(value)} is an async function or a generator; pass a plain one"
        )
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # of a builtin that does not say what it takes
        return value
    try:
        signature.bind(*arguments)
    except TypeError:
        wanted = ", ".join(arguments)
        raise InvalidInput(
            f"{what} {shown(value)} has the parameters {signature}; it is called with"
            f" ({wanted}), so let it take {'this' if len(arguments) == 1 else 'these'}"
        ) from None
    return value


def require(value: object, kind: type[T], what: str, instead: str) -> T:
    """The value if it is of this class; `instead` says what to pass."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise InvalidInput(f"{what} {shown(value)} is not {article} {kind.__name__}; {instead}")
    return value


COUNT: Check = partial(to_integer, least=1)
SHARE: Check = partial(to_number, least=0, most=1)
POSITIVE: Check = partial(to_duration, positive=True)

_BY_TYPE: Mapping[object, Check] = {
    timedelta: to_duration,
    int: to_integer,
    bool: to_flag,
}


def check_fields(settings: object, **checks: Check) -> None:
    """Convert or refuse the fields of a frozen dataclass.

    A field is checked by its entry in `checks`, else by the type that it is declared with:
    durations, integers and flags. None passes where the declaration has it. Fields of other types
    are left to the class itself.
    """
    for name, (default, optional) in _declared(type(settings)).items():
        check = checks.get(name, default)
        given = getattr(settings, name)
        if check is None or (given is None and optional):
            continue
        kept = check(given, name)
        if kept is not given:
            object.__setattr__(settings, name, kept)


@lru_cache(maxsize=64)
def _declared(kind: type) -> Mapping[str, tuple[Check | None, bool]]:
    """For each field: the check of its type, if it has one, and whether it may be None."""
    found: dict[str, tuple[Check | None, bool]] = {}
    for name, annotation in get_type_hints(kind).items():
        is_union = get_origin(annotation) in (Union, UnionType)
        members = get_args(annotation) if is_union else (annotation,)
        kinds = [each for each in members if each is not NoneType]
        check = _BY_TYPE.get(kinds[0]) if len(kinds) == 1 else None
        found[name] = (check, NoneType in members)
    return found


def _answers_later(function: object) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isgeneratorfunction(function)
        or inspect.isasyncgenfunction(function)
    )
