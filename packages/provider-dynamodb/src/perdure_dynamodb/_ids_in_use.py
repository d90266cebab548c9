"""The ids that the creations of a commit found in use: the part of its answer that may be large.

They stand in items of their own, which the transaction that found them puts. The lock item, which
is paid whole with each change of a lease and has at most 400 KB, names them by the attribute
`ans`. The next commit of the instance removes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from perdure_dynamodb._keys import in_use_key
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._table import Put, Select


class IdsInUse:
    """Keeps the ids in use until the next commit."""

    def __init__(self, namespace: Namespace) -> None:
        self._table = namespace.table
        self._keys = namespace.keys

    def put(self, instance: str, answer: str, batch: int, ids: Sequence[str]) -> Put:
        """The item of one batch of a commit."""
        partition = self._keys.partition(instance)
        return Put(item={"pk": partition, "sk": in_use_key(answer, batch), "ids": list(ids)})

    async def read(self, instance: str, answer: str) -> frozenset[str]:
        """The ids under an answer's name."""
        prefix = in_use_key(answer, 0)[:-5]
        select = Select(partition=self._keys.partition(instance), first=prefix, last=prefix + "~")
        return frozenset(
            [each async for row in self._table.query_all(select) for each in row.texts("ids")]
        )

    async def of_last_commit(self, lock: Lock) -> frozenset[str]:
        """The ids that the instance's last commit found in use."""
        # Version 0.1.0 kept them in the lock item.
        answer, ids = lock.row.text_or_none("ans"), frozenset(lock.row.texts("inu"))
        return ids if answer is None else ids | await self.read(lock.instance, answer)
