"""An annotation exactly as it was written, to find its codec by.

Python says that `A | B` equals `B | A`, and so does every type that holds one of them. To a
decoder they are two types: the first member that fits wins.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast, get_args, get_origin


class Written:
    """Wraps an annotation; equal to another one only where both are spelled alike."""

    __slots__ = ("_hash", "_spelling", "annotation")

    def __init__(self, annotation: object) -> None:
        self.annotation = annotation
        self._spelling = _spelling(annotation)
        self._hash = hash(self._spelling)  # TypeError where some part cannot be hashed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Written) and self._spelling == other._spelling

    def __hash__(self) -> int:
        return self._hash


def _spelling(annotation: object) -> object:
    if isinstance(annotation, list):  # the parameters of a Callable
        return (list, *map(_spelling, cast("list[object]", annotation)))
    origin = get_origin(annotation)
    if origin is None:
        return annotation
    parts: tuple[Any, ...] = get_args(annotation)
    if origin is Literal:
        # 1 and True are equal, and two literals.
        literals = cast("tuple[object, ...]", parts)
        return (origin, *((type(literal), literal) for literal in literals))
    if origin is Annotated:
        return (origin, _spelling(parts[0]), *parts[1:])
    # With its own class, for `List[int]` is not written as `list[int]`.
    return (type(annotation), origin, *map(_spelling, parts))
