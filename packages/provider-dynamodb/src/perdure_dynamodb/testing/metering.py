"""A transport that counts what is sent, and works out what DynamoDB charges for it.

DynamoDB Local cannot be asked: it rounds a transaction as one item, and charges nothing for a
read that finds nothing. So the units come from the rules that DynamoDB publishes, applied to the
items as they stand before and after each request; these looks go past the counters. Writes pass
one at a time, since another caller's write in between would be charged twice.

- A write costs 1 unit for each started KB of the larger of the item before and after it, at
  least 1, and twice that in a transaction. A condition that fails costs as much.
- The index costs 1 unit for each started KB of an entry that is put or removed, in a transaction
  too; an entry that changes its place is both, and one that does not change costs nothing.
- A strongly consistent read costs 1 unit for each started 4 KB, at least 1; one that is not costs
  half, from the index too: `GetItem` and `BatchGetItem` by item, `Query` by page.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from perdure_dynamodb._retries import RetryingCalls
from perdure_dynamodb._schema import PROJECTED
from perdure_dynamodb._table import Key, Table
from perdure_dynamodb._transport import Answer, Calls, Parameters
from perdure_dynamodb._values import Wire, item_to_wire

_KILOBYTE = 1024
_KEY = ("pk", "sk")
_SHOWN = frozenset({*_KEY, "gpk", "gsk", *PROJECTED})

_WireItem: TypeAlias = Mapping[str, Wire]


@dataclass(slots=True)
class Bill:
    """What was sent since the last look."""

    requests: Counter[str] = field(default_factory=Counter[str])
    """By operation, but for the looks into the index."""
    looks: int = 0
    """Queries of the index: a process that waits for work sends them whether or not it comes."""
    write_units: float = 0.0
    read_units: float = 0.0
    """But for the looks."""
    look_units: float = 0.0

    @property
    def total(self) -> int:
        """How many requests, but for the looks."""
        return self.requests.total()

    def __sub__(self, other: Bill) -> Bill:
        """What was sent for this, and not for the other, which has to be less in everything."""
        return Bill(
            requests=self.requests - other.requests,
            looks=self.looks - other.looks,
            write_units=self.write_units - other.write_units,
            read_units=self.read_units - other.read_units,
            look_units=self.look_units - other.look_units,
        )


class MeteringCalls:
    """Passes requests on, and charges for them."""

    def __init__(self, inner: Calls) -> None:
        self._inner = inner
        self._bill = Bill()
        self._one_at_a_time = asyncio.Lock()

    def take(self) -> Bill:
        """The bill since the last look; a new one begins."""
        bill, self._bill = self._bill, Bill()
        return bill

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One request, counted."""
        bill = self._bill
        if "IndexName" in parameters:
            bill.looks += 1
        else:
            bill.requests[operation] += 1
        match operation:
            case "GetItem":
                answer = await self._inner.call(operation, parameters)
                bill.read_units += _read_units(_size(cast("_WireItem", answer.get("Item", {}))))
            case "BatchGetItem":
                answer = await self._inner.call(operation, parameters)
                bill.read_units += _batch_units(parameters, answer)
            case "Query":
                answer = await self._query(parameters, bill)
            case "PutItem" | "UpdateItem" | "DeleteItem" | "BatchWriteItem" | "TransactWriteItems":
                answer = await self._write(operation, parameters, bill)
            case _:
                answer = await self._inner.call(operation, parameters)
        return answer

    async def _query(self, parameters: Parameters, bill: Bill) -> Answer:
        answer = whole = await self._inner.call("Query", parameters)
        if "ProjectionExpression" in parameters:
            # What is left out is charged too.
            every = {n: v for n, v in parameters.items() if n != "ProjectionExpression"}
            whole = await self._inner.call("Query", every)
        units = _read_units(sum(map(_size, cast("Sequence[_WireItem]", whole.get("Items", ())))))
        if "IndexName" in parameters:
            bill.look_units += units / 2
        else:
            bill.read_units += units if parameters["ConsistentRead"] else units / 2
        return answer

    async def _write(self, operation: str, parameters: Parameters, bill: Bill) -> Answer:
        factor = 2 if operation == "TransactWriteItems" else 1
        table, keys = _written(operation, parameters)
        async with self._one_at_a_time:
            before = await self._look(table, keys)
            try:
                return await self._inner.call(operation, parameters)
            finally:
                after = await self._look(table, keys)
                bill.write_units += sum(
                    _write_units(before.get(key, {}), after.get(key, {}), factor) for key in keys
                )

    async def _look(self, table: str, keys: Sequence[Key]) -> dict[Key, _WireItem]:
        """The items as they stand, past the counters."""
        rows = await Table(RetryingCalls(self._inner), table).get_many(keys)
        return {key: item_to_wire(row) for key, row in rows.items()}


def _written(operation: str, parameters: Parameters) -> tuple[str, Sequence[Key]]:
    """The table, and the keys of the items that a request may change."""
    if operation == "BatchWriteItem":
        [(table, requests)] = cast(
            "Mapping[str, Sequence[Mapping[str, Parameters]]]", parameters["RequestItems"]
        ).items()
        writes = [next(iter(request.values())) for request in requests]
    elif operation == "TransactWriteItems":
        actions = cast("Sequence[Mapping[str, Parameters]]", parameters["TransactItems"])
        writes = [next(iter(action.values())) for action in actions]
        table = str(writes[0]["TableName"])
    else:
        writes, table = [parameters], str(parameters["TableName"])
    return table, [_key_of(cast("_WireItem", each.get("Item") or each["Key"])) for each in writes]


def _write_units(before: _WireItem, after: _WireItem, factor: int) -> int:
    largest = max(_size(before), _size(after))
    units = factor * max(1, _started(largest, _KILOBYTE))
    entries = [_shown(before), _shown(after)]
    if entries[0] == entries[1]:
        return units
    if entries[0] and entries[1] and _place(entries[0]) == _place(entries[1]):
        entries = [max(entries, key=_size)]
    return units + sum(_started(_size(entry), _KILOBYTE) for entry in entries)


def _shown(item: _WireItem) -> _WireItem:
    """The item's entry in the index."""
    if "gpk" not in item:
        return {}
    return {name: value for name, value in item.items() if name in _SHOWN}


def _place(entry: _WireItem) -> tuple[Wire, Wire]:
    return entry["gpk"], entry["gsk"]


def _batch_units(parameters: Parameters, answer: Answer) -> float:
    [request] = cast("Mapping[str, Mapping[str, object]]", parameters["RequestItems"]).values()
    asked = len(cast("Sequence[object]", request["Keys"]))
    responses = cast("Mapping[str, Sequence[_WireItem]]", answer["Responses"])
    found = [item for items in responses.values() for item in items]
    units = sum(_read_units(_size(item)) for item in found) + asked - len(found)
    return units if request.get("ConsistentRead") else units / 2


def _read_units(size: int) -> int:
    return max(1, _started(size, 4 * _KILOBYTE))


def _started(size: int, unit: int) -> int:
    return -(-size // unit)


def _key_of(item: _WireItem) -> Key:
    partition, sort = (cast("str", item[name]["S"]) for name in _KEY)
    return partition, sort


def _size(item: _WireItem) -> int:
    return sum(len(name.encode()) + _weight(value) for name, value in item.items())


def _weight(wire: Wire) -> int:
    """The size of a value, as DynamoDB counts it: of a number about a byte for two digits."""
    [(kind, value)] = wire.items()
    match kind:
        case "S":
            return len(cast("str", value).encode())
        case "B":
            return len(cast("bytes", value))
        case "N":
            return len(cast("str", value).lstrip("-")) // 2 + 2
        case "L":
            return 3 + sum(1 + _weight(each) for each in cast("Sequence[Wire]", value))
        case "M":
            return 3 + len(cast("_WireItem", value)) + _size(cast("_WireItem", value))
        case _:
            return 1
