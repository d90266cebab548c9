"""The table, in plain values: the dozen kinds of request that the provider makes.

Reads of the table are strongly consistent unless the caller asks otherwise; reads of the index
never are. Writes come as `Write` records, so that the same record can go alone or in a
transaction.
"""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar, cast

from perdure.errors import ProviderError

from perdure_dynamodb._transport import Calls, ConditionFailed, Parameters
from perdure_dynamodb._usage import Usage
from perdure_dynamodb._values import Item, Plain, Row, Wire, item_to_wire

INDEX = "due"
TRANSACTION_LIMIT = 100
"""Actions in one transaction."""
READ_BATCH = 100
WRITE_BATCH = 25
BATCH_BYTES = 700_000
"""Of payload in one batch of writes: encoded, it stays below the megabyte from which on the
driver complains of being kept busy."""
AT_ONCE = 16
"""So many requests of one call are under way at the same time."""

ABSENT = "attribute_not_exists(pk)"
"""The condition that there is no item of the key."""

T = TypeVar("T")
Key: TypeAlias = tuple[str, str]
Values: TypeAlias = Mapping[str, Plain]


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Puts a whole item in place of what was there."""

    item: Item
    condition: str | None = None
    values: Values = field(default_factory=dict[str, Plain])

    @property
    def key(self) -> Key:
        """The item's key."""
        return cast("str", self.item["pk"]), cast("str", self.item["sk"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Changes attributes of an item."""

    key: Key
    change: str
    condition: str | None = None
    values: Values = field(default_factory=dict[str, Plain])


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Removes an item."""

    key: Key
    condition: str | None = None
    values: Values = field(default_factory=dict[str, Plain])


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Only looks whether a condition is met; in transactions."""

    key: Key
    condition: str
    values: Values = field(default_factory=dict[str, Plain])


Write: TypeAlias = Put | Update | Delete
Action: TypeAlias = Write | Check

_OPERATIONS = {Put: "PutItem", Update: "UpdateItem", Delete: "DeleteItem"}
_ACTIONS = {Put: "Put", Update: "Update", Delete: "Delete", Check: "ConditionCheck"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Select:
    """A query: a partition, a range of sort keys, and how to read it."""

    partition: str
    first: str | None = None
    last: str | None = None
    """Both ends are included; None: the partition's own end."""
    index: bool = False
    consistent: bool = True
    """Whether all that was acknowledged is read; the index never is, and half the price is as it was
    a moment ago."""
    newest_first: bool = False
    limit: int | None = None
    start: Mapping[str, str] | None = None
    """Where an earlier page ended."""
    only: str | None = None
    """The attributes to return; None: all."""


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a query, and where the next page begins."""

    rows: tuple[Row, ...]
    next: Mapping[str, str] | None


class Table:
    """One table, through a transport."""

    def __init__(self, calls: Calls, name: str, *, usage: Usage | None = None) -> None:
        self.calls = calls
        self.usage = Usage() if usage is None else usage
        self.name = name

    async def get(self, partition: str, sort: str) -> Row | None:
        """An item, or None."""
        answer = await self.calls.call(
            "GetItem",
            {
                "TableName": self.name,
                "Key": _key((partition, sort)),
                "ConsistentRead": True,
            },
        )
        return _row_or_none(answer.get("Item"))

    async def get_many(self, keys: Iterable[Key], *, consistent: bool = True) -> dict[Key, Row]:
        """Those of the items that exist, by key; at half the price as they were a moment ago."""
        found: dict[Key, Row] = {}
        groups = list(in_groups(dict.fromkeys(keys), READ_BATCH))
        for rows in await at_once(self._get_batch(group, consistent) for group in groups):
            found.update({(row.text("pk"), row.text("sk")): row for row in rows})
        return found

    async def query(self, select: Select) -> Page:
        """One page of a query."""
        answer = await self.calls.call("Query", self._query(select))
        if select.index:
            self.usage.count_look(answer)
        rows = cast("Sequence[Mapping[str, Wire]]", answer.get("Items", ()))
        last = cast("Mapping[str, Wire] | None", answer.get("LastEvaluatedKey"))
        return Page(
            tuple(Row.from_wire(row) for row in rows),
            {name: cast("str", value["S"]) for name, value in last.items()} if last else None,
        )

    async def query_all(self, select: Select) -> AsyncGenerator[Row]:
        """All rows of a query, page after page."""
        start = select.start
        while True:
            page = await self.query(replace(select, start=start))
            for row in page.rows:
                yield row
            if page.next is None:
                return
            start = page.next

    async def write(self, write: Write) -> Row | None:
        """One write, by itself; gives the item as it is after an update, and was before a deletion.

        Raises `ConditionFailed`.
        """
        parameters = {**self._action(write), "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        if isinstance(write, Update):
            parameters["ReturnValues"] = "ALL_NEW"
        elif isinstance(write, Delete):
            parameters["ReturnValues"] = "ALL_OLD"
        answer = await self.calls.call(_OPERATIONS[type(write)], parameters)
        return _row_or_none(answer.get("Attributes"))

    async def try_write(self, write: Write) -> tuple[bool, Row | None]:
        """One write: whether its condition was met, and the item after it, or as it stands."""
        try:
            return True, await self.write(write)
        except ConditionFailed as error:
            return False, error.item

    async def transact(self, actions: Sequence[Action]) -> None:
        """All of the actions or none; raises `TransactionCancelled`."""
        await self.calls.call(
            "TransactWriteItems",
            {
                "ClientRequestToken": str(uuid.uuid4()),
                "TransactItems": [
                    {
                        _ACTIONS[type(action)]: {
                            **self._action(action),
                            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                        }
                    }
                    for action in actions
                ],
            },
        )

    async def put_many(self, items: Sequence[Item]) -> None:
        """Put items, each by itself, in no particular order."""
        groups: list[list[object]] = []
        size = BATCH_BYTES + 1
        for item in items:
            data = item.get("dat")
            weight = len(data) if isinstance(data, bytes) else 1000
            if size + weight > BATCH_BYTES or len(groups[-1]) == WRITE_BATCH:
                groups.append([])
                size = 0
            groups[-1].append({"PutRequest": {"Item": item_to_wire(item)}})
            size += weight
        for some in in_groups(groups, 4):
            await at_once(self._write_batch(group) for group in some)

    async def delete_many(self, keys: Iterable[Key]) -> None:
        """Remove items, whatever they are, in no particular order."""
        requests = [{"DeleteRequest": {"Key": _key(key)}} for key in dict.fromkeys(keys)]
        groups = [list(group) for group in in_groups(requests, WRITE_BATCH)]
        await at_once(self._write_batch(group) for group in groups)

    async def _get_batch(self, keys: Sequence[Key], consistent: bool) -> list[Row]:
        request = {"Keys": [_key(key) for key in keys], "ConsistentRead": consistent}
        answer = await self.calls.call("BatchGetItem", {"RequestItems": {self.name: request}})
        responses = cast("Mapping[str, Sequence[Mapping[str, Wire]]]", answer["Responses"])
        return [Row.from_wire(item) for item in responses.get(self.name, ())]

    async def _write_batch(self, requests: Sequence[object]) -> None:
        await self.calls.call("BatchWriteItem", {"RequestItems": {self.name: requests}})

    def _query(self, select: Select) -> Parameters:
        partition, sort = ("gpk", "gsk") if select.index else ("pk", "sk")
        condition, values = f"{partition} = :p", {":p": select.partition}
        if select.first is not None and select.last is not None:
            condition += f" AND {sort} BETWEEN :first AND :last"
            values |= {":first": select.first, ":last": select.last}
        elif select.first is not None:
            condition += f" AND {sort} >= :first"
            values[":first"] = select.first
        elif select.last is not None:
            condition += f" AND {sort} <= :last"
            values[":last"] = select.last
        parameters: dict[str, object] = {
            "TableName": self.name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": item_to_wire(values),
            "ScanIndexForward": not select.newest_first,
            "ConsistentRead": select.consistent and not select.index,
        }
        if select.index:
            parameters["IndexName"] = INDEX
            parameters["ReturnConsumedCapacity"] = "TOTAL"
        if select.limit is not None:
            parameters["Limit"] = select.limit
        if select.start is not None:
            parameters["ExclusiveStartKey"] = item_to_wire(select.start)
        if select.only is not None:
            parameters["ProjectionExpression"] = select.only
        return parameters

    def _action(self, action: Action) -> dict[str, object]:
        parameters: dict[str, object] = {"TableName": self.name}
        if isinstance(action, Put):
            parameters["Item"] = item_to_wire(action.item)
        else:
            parameters["Key"] = _key(action.key)
        if isinstance(action, Update):
            parameters["UpdateExpression"] = action.change
        if action.condition is not None:
            parameters["ConditionExpression"] = action.condition
        if action.values:
            parameters["ExpressionAttributeValues"] = item_to_wire(action.values)
        return parameters


def _key(key: Key) -> dict[str, dict[str, object]]:
    return item_to_wire({"pk": key[0], "sk": key[1]})


def _row_or_none(wire: object) -> Row | None:
    return Row.from_wire(cast("Mapping[str, Wire]", wire)) if wire else None


def in_groups(things: Iterable[T], size: int) -> Iterable[list[T]]:
    """The things in lists of at most so many."""
    every = list(things)
    return (every[start : start + size] for start in range(0, len(every), size))


async def each_apart(calls: Iterable[Awaitable[bool]]) -> list[bool]:
    """What `at_once` gives; a call that fails for itself alone is taken to be as it should be.

    Where all fail, the first error is raised.
    """

    errors: list[ProviderError] = []

    async def one(call: Awaitable[bool]) -> bool:
        try:
            return await call
        except ProviderError as error:
            errors.append(error)
            return True

    answers = await at_once(one(call) for call in calls)
    if errors and len(errors) == len(answers):
        raise errors[0]
    return answers


async def at_once(awaitables: Iterable[Awaitable[T]]) -> list[T]:
    """The results in order; a bounded number is under way at a time, and all end before it does."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(awaitable: Awaitable[T]) -> T:
        async with gate:
            return await awaitable

    every = list(awaitables)
    try:
        results = await asyncio.gather(*map(one, every), return_exceptions=True)
    finally:
        # A cancellation leaves some that never began.
        for each in every:
            if inspect.iscoroutine(each):
                each.close()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return cast("list[T]", results)
