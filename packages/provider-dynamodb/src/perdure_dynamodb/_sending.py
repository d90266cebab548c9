"""Sending: messages into mailboxes, outside of commits.

One message to an instance that exists is one conditional put. Several to one mailbox go in
transactions, in their order, so that nobody sees a later one without an earlier one. An event
to an id that does not exist is put out of the ready queue, under the condition that the id
still does not exist: so either the creator finds it, or it finds the instance.
"""

from __future__ import annotations

from collections.abc import Sequence

from perdure.clock import Instant
from perdure.contract import Message

from perdure_dynamodb._changes import Changes, put_into
from perdure_dynamodb._keys import FOREVER, Keys, open_since
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._payloads import ChunkBuffer
from perdure_dynamodb._purge import Purge
from perdure_dynamodb._shards import Shards
from perdure_dynamodb._table import Select, Table, at_once, in_groups

TOGETHER = 49
"""Messages in one transaction: each may need a look at its instance."""


class Sending:
    """Puts messages into the mailboxes of one namespace."""

    def __init__(self, table: Table, changes: Changes, shards: Shards, *, purge: Purge) -> None:
        self._table = table
        self._changes = changes
        self._shards = shards
        self._purge = purge

    async def send(self, messages: Sequence[Message]) -> None:
        """Each to its mailbox, in the order given."""
        by_instance: dict[str, list[Message]] = {}
        for message in messages:
            by_instance.setdefault(message.instance, []).append(message)
        locks = await self._changes.read_locks(tuple(by_instance))
        await at_once(
            self._send_to(locks[instance], some) for instance, some in by_instance.items()
        )

    async def newest_stamp(self, keys: Keys) -> Instant:
        """The newest stamp of a message that waits: those that come now are behind it."""
        stamps = await at_once(
            self._newest_in(queue(shard))
            for shard in self._shards.all
            for queue in (keys.turns, keys.waiting)
        )
        return max(stamps)

    async def _send_to(self, lock: Lock | None, messages: Sequence[Message]) -> None:
        for some in in_groups(messages, TOGETHER):
            buffer = ChunkBuffer.empty()
            posts = [self._changes.post(message, buffer) for message in some]
            await buffer.write(self._table)
            # A put that is repeated, for want of an answer, may come after the message was
            # consumed; one with chunks, which are gone by then, needs a transaction's token.
            if lock is not None and len(posts) == 1 and not buffer.items:
                put = put_into(posts[0].item, lock)
                if put is not None:
                    await self._table.try_write(put)
            else:
                outcome = await self._changes.carry_out(posts, fence=lambda _: ())
                self._purge.chunks(outcome.unused)

    async def _newest_in(self, partition: str) -> Instant:
        page = await self._table.query(
            Select(
                partition=partition,
                first=open_since(0),
                last=open_since(FOREVER),
                index=True,
                newest_first=True,
                limit=1,
            )
        )
        return max((int(row.text("gsk")[1:21]) for row in page.rows), default=0)
