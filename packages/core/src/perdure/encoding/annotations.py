"""An annotation exactly as it is spelled, to find its codec.

In Python `A | B` equals `B | A`, and so do types that contain them. For a decoder they differ: the
first member that fits wins.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast, get_args, get_origin


class SpelledAnnotation:
    """Wraps an annotation; two are equal only if they are spelled alike."""

    __slots__ = ("_hash", "_spelling", "annotation")

    def __init__(self, annotation: object) -> None:
        self.annotation = annotation
        self._spelling = _spelling(annotation)
        self._hash = hash(self._spelling)  # TypeError where some part cannot be hashed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SpelledAnnotation) and self._spelling == other._spelling

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
        # 1 and True are equal, but are different literals.
        literals = cast("tuple[object, ...]", parts)
        return (origin, *((type(literal), literal) for literal in literals))
    if origin is Annotated:
        return (origin, _spelling(parts[0]), *parts[1:])
    # With its class, because `List[int]` is not spelled like `list[int]`.
    return (type(annotation), origin, *map(_spelling, parts))
