"""Carrying changes out that go together, in one transaction.

A transaction is built, tried, and built again without what turned out to be in the way, until it
succeeds or its fence fails (see `change_build`). The fence is what the caller puts first: the
conditions under which anything may happen at all. Each attempt carries out everything or nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from perdure.contract import Message, NewInstance
from perdure.errors import StorageUnavailable

from perdure_dynamodb._change_build import Attempt, Build, foresee, ids_in_use, learn, outcome_of
from perdure_dynamodb._change_kinds import (
    Change,
    Create,
    Fence,
    FenceFailed,
    Mailbox,
    Outcome,
    Post,
)
from perdure_dynamodb._keys import LOCK
from perdure_dynamodb._lease_memory import BoundedMemory
from perdure_dynamodb._listed import new_items
from perdure_dynamodb._lives import LIFE, Life
from perdure_dynamodb._locks import Lock, new_lock
from perdure_dynamodb._messages import message_item
from perdure_dynamodb._namespace import Namespace
from perdure_dynamodb._payloads import ChunkBuffer, chunks_of
from perdure_dynamodb._signals import Signal, Signals
from perdure_dynamodb._table import Action
from perdure_dynamodb._transport import TransactionCancelled
from perdure_dynamodb._values import Row

_LOGGER = logging.getLogger("perdure.dynamodb")

_MOST_ATTEMPTS = 40


class Changes:
    """Carries changes out."""

    def __init__(self, namespace: Namespace, signals: Signals) -> None:
        self._namespace = namespace
        self._table = namespace.table
        self._keys = namespace.keys
        self._signals = signals
        self._unsound: BoundedMemory[str, None] = BoundedMemory()
        """Damaged instances that were complained of."""

    def post(self, message: Message, buffer: ChunkBuffer, *, life: Life | None = None) -> Post:
        """The change that puts a message into its mailbox.

        `life` is that of the instance, where the caller has seen it.
        """
        item = message_item(self._namespace, message, buffer, life=life)
        return Post(instance=message.instance, item=item)

    def create(
        self, new: NewInstance, buffer: ChunkBuffer, *, now: int, if_exists: Post | None = None
    ) -> Create:
        """The change that creates an instance with its start message."""
        partition = self._keys.partition(new.instance)
        life = Life.of_new()
        start = {
            **message_item(self._namespace, new.start, buffer, life=life),
            LIFE: life.text,
        }
        lock = new_lock(
            new,
            life=life,
            partition=partition,
            queue=self._namespace.turn_queue(new.instance),
            now=now,
        )
        if chunks_of(Row(start)):
            lock["lit"] = 1
        return Create(
            instance=new.instance,
            lock=lock,
            items=(start, *new_items(self._namespace, new, created=now)),
            if_exists=if_exists,
        )

    async def signal(self, outcome: Outcome) -> None:
        """Signal the instances that messages were put for."""
        await self._signals.send(outcome.signals)

    async def signal_again(self, messages: Sequence[Message]) -> None:
        """Signal the instances of messages that were put, since the first signal may be lost."""
        stamp = self._namespace.now
        locks = await self.read_sound_locks(tuple({each.instance for each in messages}))
        await self._signals.send(Signal(lock, stamp) for lock in locks.values())

    async def read_locks(
        self, instances: Sequence[str], *, consistent: bool = True
    ) -> dict[str, Lock | None]:
        """The locks of the instances, None for those that do not exist."""
        keys = {instance: (self._keys.partition(instance), LOCK) for instance in instances}
        rows = await self._table.get_many(keys.values(), consistent=consistent)
        return {
            instance: Lock(instance, rows[key]) if key in rows else None
            for instance, key in keys.items()
        }

    async def read_sound_locks(
        self, instances: Sequence[str], *, consistent: bool = True
    ) -> dict[str, Lock]:
        """Those that exist and can be understood: what is damaged must not hinder others."""
        found = await self.read_locks(instances, consistent=consistent)
        sound: dict[str, Lock] = {}
        for instance, lock in found.items():
            if lock is None:
                continue
            if lock.is_sound:
                sound[instance] = lock
            elif instance not in self._unsound:
                self._unsound[instance] = None
                _LOGGER.error("instance %r is damaged in the storage, and passed over", instance)
        return sound

    async def carry_out(
        self,
        changes: Sequence[Change],
        *,
        fence: Fence,
        known: Mapping[str, Mailbox] | None = None,
        unless_void: bool = False,
    ) -> Outcome:
        """Everything in one transaction, under the fence; raises `FenceFailed`.

        `known` are the mailboxes that the fence itself makes sure of; others are looked up. With
        `unless_void`, the fence is not tried if none of the changes is wanted. The caller signals
        the instances of the outcome.
        """
        attempt = Attempt()
        foresee(changes, attempt, known or {})
        for _ in range(_MOST_ATTEMPTS):
            await self._look_up(changes, attempt, known or {})
            build = Build(self._namespace, attempt, dict(known or {}))
            first = list(fence(ids_in_use(changes, attempt)))
            build.add_all(changes)
            if unless_void and not build.actions:
                return replace(outcome_of(changes, build, attempt), is_void=True)
            actions = first + [action for action, _ in build.actions]
            if not actions or await self._try(actions, len(first), changes, build, attempt):
                return outcome_of(changes, build, attempt)
        raise StorageUnavailable(
            f"the table changed {_MOST_ATTEMPTS} times while a change was made; try again",
            operation="transact",
        )

    async def _try(
        self,
        actions: Sequence[Action],
        fenced: int,
        changes: Sequence[Change],
        build: Build,
        attempt: Attempt,
    ) -> bool:
        try:
            await self._table.transact(actions)
        except TransactionCancelled as error:
            failed = [reason.code == "ConditionalCheckFailed" for reason in error.reasons]
            if any(failed[:fenced]):
                raise FenceFailed from error
            for (action, place), reason in zip(build.actions, error.reasons[fenced:], strict=True):
                if reason.code == "ConditionalCheckFailed":
                    learn(changes[place], place, action, reason.item, attempt)
            return False
        return True

    async def _look_up(
        self, changes: Sequence[Change], attempt: Attempt, known: Mapping[str, Mailbox]
    ) -> None:
        created = {
            change.instance
            for place, change in enumerate(changes)
            if isinstance(change, Create) and place not in attempt.in_use | attempt.dropped
        }
        wanted = {change.instance for change in changes if isinstance(change, Post)}
        missing = sorted(wanted - created - known.keys() - attempt.locks.keys())
        if missing:
            attempt.locks |= await self.read_locks(missing)
