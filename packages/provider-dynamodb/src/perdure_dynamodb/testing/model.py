"""DynamoDB in memory, as far as this provider uses it: a transport for fast tests.

It keeps the rules that a protocol can break: conditions, all-or-nothing transactions with their
limits and idempotency tokens, strongly consistent reads of the table, pages. What the provider
never does is refused. `index_lag` makes the index show each change only so many calls later.
It yields to the event loop before each call, so that concurrent callers interleave.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias, cast

from perdure_dynamodb._schema import PROJECTED, definition
from perdure_dynamodb._table import INDEX
from perdure_dynamodb._transport import (
    Answer,
    ConditionFailed,
    Parameters,
    Reason,
    Refused,
    TransactionCancelled,
)
from perdure_dynamodb._values import Item, Plain, Row, Wire, from_wire, item_to_wire
from perdure_dynamodb.testing.expressions import change, condition, values_used

Key: TypeAlias = tuple[str, str]

MOST_ACTIONS = 100
MOST_TRANSACTION_BYTES = 4_000_000
MOST_ITEM_BYTES = 400_000
PAGE_BYTES = 1_000_000


class ModelCalls:
    """One table, whatever it is called."""

    def __init__(self, *, index_lag: int = 0) -> None:
        self.items: dict[Key, Item] = {}
        self.index_lag = index_lag
        self._sorted: dict[str, list[str]] = {}
        self._index: dict[str, list[tuple[str, str, str]]] = {}
        self._indexed: dict[Key, Item] = {}
        self._late: list[tuple[int, Key, Item | None]] = []
        self._tokens: OrderedDict[str, str] = OrderedDict()
        self._calls = 0

    async def call(self, operation: str, parameters: Parameters) -> Answer:
        """One operation, in one step."""
        await asyncio.sleep(0)
        return self.apply(operation, parameters)

    def apply(self, operation: str, parameters: Parameters) -> Answer:
        """One operation, at once."""
        self._calls += 1
        self._catch_up()
        match operation:
            case "CreateTable":
                return {}
            case "DescribeTable":
                return {"Table": {**definition("model"), "TableStatus": "ACTIVE"}}
            case "GetItem":
                return self._get(parameters)
            case "BatchGetItem":
                return self._get_batch(parameters)
            case "Query":
                return self._query(parameters)
            case "PutItem" | "UpdateItem" | "DeleteItem":
                return self._write(operation.removesuffix("Item"), parameters)
            case "TransactWriteItems":
                return self._transact(parameters)
            case "BatchWriteItem":
                return self._write_batch(parameters)
            case _:
                raise Refused("UnknownOperationException", operation)

    def _get(self, parameters: Parameters) -> Answer:
        item = self.items.get(_key(parameters["Key"]))
        return {} if item is None else {"Item": item_to_wire(item)}

    def _get_batch(self, parameters: Parameters) -> Answer:
        [(table, request)] = cast("Mapping[str, Parameters]", parameters["RequestItems"]).items()
        keys = [_key(key) for key in cast("Sequence[object]", request["Keys"])]
        _require(0 < len(keys) <= 100, "a batch of up to 100 keys")
        _require(len(set(keys)) == len(keys), "no key twice")
        found = [item_to_wire(self.items[key]) for key in keys if key in self.items]
        return {"Responses": {table: found}, "UnprocessedKeys": {}}

    def _write_batch(self, parameters: Parameters) -> Answer:
        [requests] = cast(
            "Mapping[str, Sequence[Mapping[str, Parameters]]]", parameters["RequestItems"]
        ).values()
        _require(0 < len(requests) <= 25, "a batch of up to 25 writes")
        writes: dict[Key, Item | None] = {}
        for request in requests:
            put = request.get("PutRequest")
            item = None if put is None else _item(put["Item"])
            key = _key(request["DeleteRequest"]["Key"]) if item is None else _key_of(item)
            _require(key not in writes, "no item twice")
            writes[key] = item
        for key, item in writes.items():
            self._set(key, item)
        return {"UnprocessedItems": {}}

    def _write(self, kind: str, parameters: Parameters) -> Answer:
        key, item = self._work_out(kind, parameters)
        before = self.items.get(key)
        self._set(key, item)
        told = {"ALL_NEW": item, "ALL_OLD": before}.get(str(parameters.get("ReturnValues")))
        return {} if told is None else {"Attributes": item_to_wire(told)}

    def _transact(self, parameters: Parameters) -> Answer:
        actions = [
            next(iter(action.items()))
            for action in cast("Sequence[Mapping[str, Parameters]]", parameters["TransactItems"])
        ]
        _require(0 < len(actions) <= MOST_ACTIONS, f"up to {MOST_ACTIONS} actions")
        token, request = str(parameters["ClientRequestToken"]), repr(actions)
        if token in self._tokens:
            if self._tokens[token] != request:
                raise Refused("IdempotentParameterMismatchException", token)
            return {}
        changed: dict[Key, Item | None] = {}
        reasons: list[Reason] = []
        for kind, action in actions:
            key = _key_of(_item(action["Item"])) if kind == "Put" else _key(action["Key"])
            _require(key not in changed, f"no item twice: {key}")
            try:
                _, changed[key] = self._work_out(kind, action)
                reasons.append(Reason("None", None))
            except ConditionFailed as error:
                changed[key] = None
                reasons.append(Reason("ConditionalCheckFailed", error.item))
        if any(reason.code != "None" for reason in reasons):
            raise TransactionCancelled(reasons)
        _require(sum(map(_size, changed.values())) <= MOST_TRANSACTION_BYTES, "4 MB")
        for key, item in changed.items():
            self._set(key, item)
        self._tokens[token] = request
        if len(self._tokens) > 1000:
            self._tokens.popitem(last=False)
        return {}

    def _work_out(self, kind: str, parameters: Parameters) -> tuple[Key, Item | None]:
        """The item as it would be after the write."""
        values = _item(parameters.get("ExpressionAttributeValues", {}))
        asked = cast("str | None", parameters.get("ConditionExpression"))
        update = cast("str | None", parameters.get("UpdateExpression"))
        _require(values_used(asked, update) == values.keys(), "all values used, and no others")
        key = _key_of(_item(parameters["Item"])) if kind == "Put" else _key(parameters["Key"])
        present = self.items.get(key)
        if asked is not None and not condition(asked)(present or {}, values):
            raise ConditionFailed(None if present is None else Row(dict(present)))
        match kind:
            case "Put":
                after: Item | None = _item(parameters["Item"])
            case "Delete":
                after = None
            case "ConditionCheck":
                after = present
            case _:
                before: Item = present or {"pk": key[0], "sk": key[1]}
                changes = change(update or "")(before, values)
                after = {**before, **{n: v for n, v in changes.items() if v is not None}}
                after = {n: v for n, v in after.items() if changes.get(n, v) is not None}
        _require(_size(after) <= MOST_ITEM_BYTES, "an item of up to 400 KB")
        return key, after

    def _query(self, parameters: Parameters) -> Answer:
        values = _item(parameters["ExpressionAttributeValues"])
        expression = str(parameters["KeyConditionExpression"])
        indexed = parameters.get("IndexName") == INDEX
        _require(not (indexed and parameters["ConsistentRead"]), "an index is not consistent")
        _require("" not in values.values(), "no key is empty")
        entries = self._entries(str(values[":p"]), indexed=indexed)
        if "BETWEEN" in expression:
            low, high = str(values[":first"]), str(values[":last"])
            _require(low <= high, "the lower end of BETWEEN first")
        else:
            low, high = str(values.get(":first", "")), str(values.get(":last", "\U0010ffff"))
        chosen = [entry for entry in entries if low <= entry[0] <= high]
        if parameters["ScanIndexForward"] is False:
            chosen.reverse()
        start = parameters.get("ExclusiveStartKey")
        if start is not None:
            chosen = _behind(chosen, _item(start), forward=bool(parameters["ScanIndexForward"]))
        return self._page(chosen, parameters, indexed=indexed)

    def _entries(self, partition: str, *, indexed: bool) -> Sequence[tuple[str, str, str]]:
        if indexed:
            return self._index.get(partition, [])
        return [(sort, partition, sort) for sort in self._sorted.get(partition, [])]

    def _page(
        self, entries: Sequence[tuple[str, str, str]], parameters: Parameters, *, indexed: bool
    ) -> Answer:
        source = self._indexed if indexed else self.items
        limit = cast("int | None", parameters.get("Limit"))
        names = cast("str | None", parameters.get("ProjectionExpression"))
        rows: list[Item] = []
        size, more = 0, False
        for _, partition, sort in entries:
            item = source[partition, sort]
            more = size + _size(item) > PAGE_BYTES and bool(rows)
            if more or len(rows) == limit:
                break
            size += _size(item)
            rows.append(item)
        answer: dict[str, object] = {"Items": _wires(rows, names)}
        if rows and (more or len(rows) == limit):
            answer["LastEvaluatedKey"] = _start_of(rows[-1], indexed)
        if "ReturnConsumedCapacity" in parameters:
            # A read of an index: half a unit for each started 4 KB.
            answer["ConsumedCapacity"] = {"CapacityUnits": max(1, -(-size // 4096)) / 2}
        return answer

    def _set(self, key: Key, item: Item | None) -> None:
        partition, sort = key
        if item is None:
            if self.items.pop(key, None) is not None:
                sorts = self._sorted[partition]
                del sorts[bisect_left(sorts, sort)]
        else:
            if key not in self.items:
                insort(self._sorted.setdefault(partition, []), sort)
            self.items[key] = item
        shown = item if item is not None and "gpk" in item else None
        self._late.append((self._calls + self.index_lag, key, shown))
        if not self.index_lag:
            self._catch_up()

    def replace(self, key: Key, item: Item | None) -> None:
        """Store an item as it is, or remove it, past all requests."""
        self._set(key, item)

    def show_everything(self) -> None:
        """Let the index show all that has happened."""
        self._late = [(0, key, item) for _, key, item in self._late]
        self._catch_up()

    def _catch_up(self) -> None:
        due = [entry for entry in self._late if entry[0] <= self._calls]
        self._late = self._late[len(due) :]
        for _, key, item in due:
            self._show(key, item)

    def _show(self, key: Key, item: Item | None) -> None:
        shown = self._indexed.pop(key, None)
        if shown is not None:
            entries = self._index[str(shown["gpk"])]
            del entries[bisect_left(entries, (str(shown["gsk"]), *key))]
        if item is not None:
            names = {"pk", "sk", "gpk", "gsk", *PROJECTED}
            self._indexed[key] = {n: v for n, v in item.items() if n in names}
            insort(self._index.setdefault(str(item["gpk"]), []), (str(item["gsk"]), *key))


def _behind(
    entries: Iterable[tuple[str, str, str]], start: Item, *, forward: bool
) -> list[tuple[str, str, str]]:
    at = (str(start.get("gsk", start["sk"])), str(start["pk"]), str(start["sk"]))
    return [entry for entry in entries if (entry > at if forward else entry < at)]


def _start_of(item: Item, indexed: bool) -> object:  # a detail of `_page`
    names = ("pk", "sk", "gpk", "gsk") if indexed else ("pk", "sk")
    return item_to_wire({name: item[name] for name in names})


def _wires(items: Iterable[Item], names: str | None) -> list[object]:
    wanted = None if names is None else set(names.replace(" ", "").split(","))
    return [
        item_to_wire({n: v for n, v in item.items() if wanted is None or n in wanted})
        for item in items
    ]


def _item(wire: object) -> Item:
    return {name: from_wire(value) for name, value in cast("Mapping[str, Wire]", wire).items()}


def _key(wire: object) -> Key:
    return _key_of(_item(wire))


def _key_of(item: Mapping[str, Plain]) -> Key:
    partition, sort = str(item["pk"]), str(item["sk"])
    _require(0 < len(partition.encode()) <= 2048, "a partition key of up to 2,048 bytes")
    _require(0 < len(sort.encode()) <= 1024, "a sort key of up to 1,024 bytes")
    return partition, sort


def _size(item: Mapping[str, Plain] | None) -> int:
    return sum(len(name) + _weight(value) for name, value in (item or {}).items())


def _weight(value: Plain) -> int:
    match value:
        case str():
            return len(value.encode())
        case bytes():
            return len(value)
        case int():
            return 12
        case list():
            return 3 + sum(map(_weight, value))
        case dict():
            return 3 + _size(value)


def _require(holds: object, rule: str) -> None:
    if not holds:
        raise Refused("ValidationException", f"the rule is: {rule}")
