"""Batches of small calls: reads of instances, and deletions.

Hundreds of callers may wait for as many instances. What they ask at the same time goes to the server
in one statement, with the place of each call in it.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Final, TypeAlias, cast

from perdure.contract import CallGroups, Group, in_tasks

from perdure_postgres._calls import Calls, as_json

Item: TypeAlias = "tuple[Hashable, Mapping[str, object]]"

_BATCHES_AT_ONCE: Final = 2


class Batch:
    """Gathers the calls of one function, which takes a list of items and answers by their places."""

    def __init__(self, calls: Calls, function: str, *, repeatable: bool = True) -> None:
        self._calls = calls
        self._repeatable = repeatable
        self._function = function
        self._groups = CallGroups[Item, Any](
            in_tasks(self._carry_out),
            description=calls.database.storage,
            at_once=_BATCHES_AT_ONCE,
        )

    async def ask(self, operation: str, key: Hashable, item: Mapping[str, object]) -> Any:
        """The row for an item without its place, or None; two items of one key are never together."""
        return await self._groups.ask(operation, (key, item))

    async def drain(self) -> None:
        """Refuse new calls, and return when the others have been answered."""
        await self._groups.drain()

    async def _carry_out(self, group: Group[Item, Any]) -> None:
        group.put_back(_distinct(group))
        items = [{"o": place, **each.call[1]} for place, each in enumerate(group.calls)]
        rows = await self._calls.call(
            group.calls[0].operation,
            self._function,
            as_json(items),
            repeatable=self._repeatable,
        )
        found = {cast("int", place): row for place, *row in rows}
        for place, each in enumerate(group.calls):
            each.succeed(found.get(place))


def _distinct(group: Group[Item, Any]) -> int:
    """How many of the first calls have keys that differ."""
    seen: set[Hashable] = set()
    for place, each in enumerate(group.calls):
        key = each.call[0]
        if key in seen:
            return place
        seen.add(key)
    return len(group.calls)
