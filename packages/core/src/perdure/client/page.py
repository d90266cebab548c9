"""A page of a listing: its items in order, and the token of the next page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar, cast, overload

T_co = TypeVar("T_co", covariant=True)


class Page(Sequence[T_co]):
    """An immutable sequence with the token of the next page.

    It equals any list, tuple or page of the same items.
    """

    __slots__ = ("_items", "_next_token")

    def __init__(self, items: Iterable[T_co], *, next_token: str | None = None) -> None:
        self._items = tuple(items)
        self._next_token = next_token

    @property
    def next_token(self) -> str | None:
        """Pass it as `token` to get the next page; None on the last page."""
        return self._next_token

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T_co, ...]: ...
    def __getitem__(self, index: int | slice) -> T_co | tuple[T_co, ...]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Page | list | tuple):
            return self._items == tuple(cast("Iterable[object]", other))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        return f"Page({list(self._items)!r}, next_token={self._next_token!r})"
