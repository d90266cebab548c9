"""Reading an instance from outside: its plain fields, and its values."""

from __future__ import annotations

from perdure.contract import InstanceState, InstanceValues

from perdure_dynamodb._keys import value_key, values_of
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import read_payload, read_payloads
from perdure_dynamodb._stable_reads import always, at_which_commit, read_stably
from perdure_dynamodb._staged_commits import StagedCommits
from perdure_dynamodb._table import Select, Table


async def read_state(table: Table, lock: Lock) -> InstanceState:
    """The plain fields of an instance, with its output and its custom status."""
    output = await read_payload(table, lock.row, "oup")
    return lock.state(output, await read_payload(table, lock.row, "cst"))


class InstanceValueReads:
    """Reads the values of instances of one namespace."""

    def __init__(self, namespace: Namespace, staged_commits: StagedCommits) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._staged = staged_commits

    async def read(self, instance: str, keys: frozenset[str] | None) -> InstanceValues | None:
        """All values, or those of the keys, as one commit left them."""

        async def find() -> Lock | None:
            row = await self._table.get(*self._namespace.lock_key(instance))
            return None if row is None else await self._staged.finish(Lock(instance, row))

        async def read(lock: Lock | None) -> InstanceValues | None:
            return None if lock is None else await self._values_of(lock, keys)

        return await read_stably(find, read, again=always, identity=at_which_commit)

    async def _values_of(self, lock: Lock, keys: frozenset[str] | None) -> InstanceValues:
        partition, tag = lock.row.text("pk"), lock.life.tag
        if keys is None:
            first, last = values_of(tag)
            select = Select(partition=partition, first=first, last=last)
            rows = [row async for row in self._table.query_all(select)]
        else:
            places = [(partition, value_key(key, tag)) for key in keys]
            rows = list((await self._table.get_many(places)).values())
        begin = len(value_key("", tag))
        names = [row.text("sk")[begin:] for row in rows]
        values = dict(zip(names, await read_payloads(self._table, rows), strict=True))
        return InstanceValues(
            incarnation=lock.incarnation, last_commit=lock.last_commit, values=values
        )
