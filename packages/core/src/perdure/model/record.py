"""The decorator of records: values that never change, of which one step of an instance makes dozens.

A type checker refuses to set a field of a record, as it does for a frozen dataclass. At run time a
record is a plain dataclass with slots: a frozen one sets each field through `object.__setattr__`,
which takes four times as long. Records that applications make, such as options, are frozen at run
time, too. Equality, hash and repr are those of a frozen dataclass; they are closures and no
generated source, and `__init__` is generated at its first use: generated functions are most of what
dataclasses cost an import.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from itertools import pairwise
from operator import attrgetter
from typing import Any, TypeVar, dataclass_transform, overload

from perdure.model.initializer import Initializer

T = TypeVar("T")


@overload
def record(cls: type[T], /) -> type[T]: ...


@overload
def record(*, kw_only: bool = True, frozen: bool = True) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def record(
    cls: type[T] | None = None, /, *, kw_only: bool = True, frozen: bool = False
) -> type[T] | Callable[[type[T]], type[T]]:
    """Make a record of the class: slots, keyword-only fields, equal and hashed by value.

    With `frozen=True` it refuses to set a field at run time, too.
    """
    if cls is None:
        return lambda cls: _made(cls, kw_only, frozen)
    return _made(cls, kw_only, frozen)


def _made(cls: type[T], kw_only: bool, frozen: bool) -> type[T]:
    made: Any = dataclass(kw_only=kw_only, slots=True, init=False, eq=False, repr=False)(cls)
    methods = [*_methods(made), *(_freezing(made) if frozen else ())]
    own = vars(cls)
    for method in methods:
        if method.__name__ not in own or own[method.__name__] is None:
            method.__qualname__ = f"{made.__qualname__}.{method.__name__}"
            setattr(made, method.__name__, method)
    made.__init__ = Initializer(made, frozen=frozen)
    made.__slots__ = FieldDocs(made)
    return made


def _methods(made: Any) -> tuple[Any, ...]:
    all_fields = fields(made)
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

    return __eq__, __hash__, __repr__


def _freezing(made: Any) -> tuple[Any, ...]:
    """What refuses to change a field, and lets copies and pickles set the fields all the same."""
    names = tuple(each.name for each in fields(made))

    def __setattr__(self: object, name: str, value: object) -> None:  # noqa: N807 # as above
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self: object, name: str) -> None:  # noqa: N807 # as above
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __getstate__(self: object) -> list[object]:  # noqa: N807 # as above
        return [getattr(self, name) for name in names]

    def __setstate__(self: object, state: list[object]) -> None:  # noqa: N807 # as above
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return __setattr__, __delattr__, __getstate__, __setstate__


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
