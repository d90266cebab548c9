"""Sending: messages into mailboxes, outside of commits.

One message to an instance that exists is one conditional put. Several to one mailbox go in
transactions, in their order, so that no reader sees a later one without an earlier one. An event
to an id that does not exist is put out of the ready queue, under the condition that the id
still does not exist: so either the creator finds it, or it finds the instance.
"""

from __future__ import annotations

from collections.abc import Sequence

from perdure.clock import Instant
from perdure.contract import Message
from perdure.errors import StorageUnavailable

from perdure_dynamodb._change_build import put_into, signal_of
from perdure_dynamodb._change_kinds import FenceFailed, Mailbox, Outcome, Post
from perdure_dynamodb._changes import Changes
from perdure_dynamodb._keys import FOREVER, open_since
from perdure_dynamodb._litter import Litter
from perdure_dynamodb._lives import LIFE
from perdure_dynamodb._locks import Lock
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer
from perdure_dynamodb._signals import Signals
from perdure_dynamodb._table import Delete, Select, at_once, in_groups

TOGETHER = 49
"""Messages in one transaction: each may need a look at its instance."""


class Sending:
    """Puts messages into the mailboxes of one namespace."""

    def __init__(
        self, namespace: Namespace, changes: Changes, signals: Signals, litter: Litter
    ) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._changes = changes
        self._signals = signals
        self._litter = litter

    async def send(self, messages: Sequence[Message]) -> None:
        """Each to its mailbox, in the order given."""
        by_instance: dict[str, list[Message]] = {}
        for message in messages:
            by_instance.setdefault(message.instance, []).append(message)
        locks = await self._changes.read_locks(tuple(by_instance))
        await at_once(
            self._send_to(locks[instance], some) for instance, some in by_instance.items()
        )

    async def newest_stamp(self) -> Instant:
        """The newest stamp of a message that waits: those that come now are behind it.

        The lock item of an instance has that of its messages. What came before its instance has no
        such item, and version 0.1.0 kept the stamps in the queue of turns alone.
        """
        keys, shards = self._namespace.keys, self._namespace.shards
        queues = (keys.waiting,) if shards.has_links else (keys.turns, keys.waiting)
        stamps = await at_once(
            self._newest_in(queue(shard)) for shard in shards.all for queue in queues
        )
        return max(stamps)

    async def _send_to(self, lock: Lock | None, messages: Sequence[Message]) -> None:
        for some in in_groups(messages, TOGETHER):
            buffer = ChunkBuffer.empty()
            life = lock.life if lock is not None and lock.is_sound else None
            posts = [self._changes.post(message, buffer, life=life) for message in some]
            marks = await self._litter.mark(messages[0].instance, buffer)
            await buffer.write(self._table)
            # A put that is repeated, for want of an answer, may come after the message was
            # consumed; one with chunks, which are gone by then, needs a transaction's token.
            if lock is not None and lock.is_sound and len(posts) == 1 and not buffer.items:
                await self._send_one(lock, posts[0])
            else:
                outcome = await self._send_some(posts, buffer, marks)
                if outcome.is_void:
                    await self._litter.drop(buffer, marks)
                self._namespace.purge.chunks(outcome.unused)
                await self._changes.signal(outcome)

    async def _send_some(
        self, posts: Sequence[Post], buffer: ChunkBuffer, marks: Sequence[Delete]
    ) -> Outcome:
        try:
            return await self._changes.carry_out(posts, fence=lambda _: marks, unless_void=True)
        except FenceFailed:
            await self._litter.drop(buffer, marks)
            raise StorageUnavailable(
                "the payloads were written too long ago to be sent; try again", operation="send"
            ) from None

    async def _send_one(self, lock: Lock, post: Post) -> None:
        # It needs no reminder: a sender that dies before the signal has promised nothing.
        put = put_into(self._namespace, post.item, Mailbox.of(lock), reminds=False)
        if put is None:
            return
        is_put, found = await self._table.try_write(put)
        if (
            not is_put
            and found is not None
            and found.text_or_none(LIFE) not in (None, lock.life.text)
        ):
            # A message of another life has the id; which of the two lives is over, the lock tells.
            outcome = await self._changes.carry_out([post], fence=lambda _: ())
            await self._changes.signal(outcome)
            return
        await self._signals.send([signal_of(lock, post.item)])

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
