"""The decorator of records: values that never change, of which one step of an instance makes dozens.

A type checker refuses to set a field of a record, as it does for a frozen dataclass. At run time a
record is a plain dataclass with slots: a frozen one sets each field through `object.__setattr__`,
which takes four times as long. Equality, hash and repr are those of a frozen dataclass; they are
closures and no generated source, which halves the time that an import of the module takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import pairwise
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

T = TypeVar("T")


@overload
def record(cls: type[T], /) -> type[T]: ...


@overload
def record(*, kw_only: bool) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def record(
    cls: type[T] | None = None, /, *, kw_only: bool = True
) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a record of the class: slots, keyword-only fields, equal and hashed by value."""
    if cls is None:
        return lambda cls: _made(cls, kw_only)
    return _made(cls, kw_only)


def _made(cls: type[T], kw_only: bool) -> type[T]:
    made: Any = dataclass(kw_only=kw_only, slots=True, eq=False, repr=False)(cls)
    own, all_fields = vars(cls), fields(made)
    compared = values_of(tuple(each.name for each in all_fields if each.compare))
    hashed = values_of(
        tuple(
            each.name for each in all_fields if (each.compare if each.hash is None else each.hash)
        )
    )
    shown = tuple(each.name for each in all_fields if each.repr)

    def __eq__(self: object, other: object) -> bool:  # noqa: N807 # it becomes the method
        return compared(self) == compared(other) if type(other) is type(self) else NotImplemented

    def __hash__(self: object) -> int:  # noqa: N807 # it becomes the method
        return hash(hashed(self))

    def __repr__(self: object) -> str:  # noqa: N807 # it becomes the method
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__qualname__}({values})"

    for method in (__eq__, __hash__, __repr__):
        if method.__name__ not in own or own[method.__name__] is None:
            method.__qualname__ = f"{made.__qualname__}.{method.__name__}"
            setattr(made, method.__name__, method)
    made.__slots__ = FieldDocs(made)
    return made


class FieldDocs(dict[str, str]):
    """The docstrings of a record's own fields, by their names.

    Python keeps none of them, and `help()` looks for them in a `__slots__` that is a dict. They are
    read from the source when the first one is asked for.
    """

    def __init__(self, owner: type) -> None:
        super().__init__(dict.fromkeys(vars(owner)["__slots__"], ""))
        self._unread: type | None = owner

    def __getitem__(self, name: str) -> str:
        if self._unread is not None:
            self.update(docs_of_fields(self._unread))
            self._unread = None
        return super().__getitem__(name)


def docs_of_fields(owner: type) -> dict[str, str]:
    """The docstrings below the fields of a class, from its source; empty where there is none."""
    # Only people who ask for help pay for these imports.
    import ast
    import inspect
    import textwrap

    try:
        [parsed] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    except OSError:
        return {}
    found: dict[str, str] = {}
    statements = parsed.body if isinstance(parsed, ast.ClassDef) else []
    for field_, below in pairwise(statements):
        if isinstance(field_, ast.AnnAssign) and isinstance(field_.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[field_.target.id] = inspect.cleandoc(text)
                case _:
                    pass
    return found


def values_of(names: tuple[str, ...]) -> Callable[[object], tuple[object, ...]]:
    """What reads these fields of a record as a tuple, all in one call."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda of: tuple(getattr(of, name) for name in names)
