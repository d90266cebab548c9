"""The provider that stands between core and a storage, and encodes every payload."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from perdure.codecs.admin import DecodingAdmin
from perdure.codecs.codec import CodecChain, PayloadCodec
from perdure.codecs.records import (
    RecordDecoder,
    RecordEncoder,
    size_of_commit,
    size_of_messages,
)
from perdure.contract.admin import ProviderAdmin
from perdure.contract.delegate import DelegatingProvider
from perdure.contract.provider import Provider
from perdure.contract.transactions import OpenTransaction
from perdure.records.activities import ActivityCompletion, ActivityRequest, LeasedActivity
from perdure.records.instances import InstanceState, Message, NewInstance
from perdure.records.queries import ChangeWait, InstanceValues
from perdure.records.recovery import InstanceReopening, InstanceTermination
from perdure.records.turns import CommitAnswer, HistoryPage, LeasedTurn, TurnCommit, TurnRequest

T = TypeVar("T")

_LARGE: Final = 256 * 1024
"""Payloads of more bytes are encoded in a thread, so that the event loop goes on meanwhile."""


class EncodingProvider(DelegatingProvider):
    """Encodes what goes to `inner`, and decodes what comes from it.

    A payload that cannot be decoded is returned as it is stored. Core finds that out where it
    needs the payload, and parks only the instance that it belongs to.
    """

    def __init__(self, inner: Provider, codecs: CodecChain) -> None:
        super().__init__(inner)
        self._encoder = RecordEncoder(codecs)
        self._decoder = RecordDecoder(codecs)

    async def create_instance(self, new: NewInstance) -> None:
        size = len(new.start.data)
        await super().create_instance(
            await self._made(size, lambda: self._encoder.new_instance(new))
        )

    async def send(self, messages: Sequence[Message]) -> None:
        size = size_of_messages(messages)
        await super().send(await self._made(size, lambda: self._encoder.messages(messages)))

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        # Decoded here and not in a thread: a lease must not be lost to a cancellation in between.
        return [self._decoder.turn(turn) for turn in await super().lease_turns(request)]

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        page = await super().read_history(instance, execution, incarnation=incarnation, after=after)
        size = sum(len(event.data) for event in page.events)
        return await self._made(size, lambda: self._decoder.history(page))

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        size = size_of_commit(commit)
        encoded = await self._made(size, lambda: self._encoder.commit(commit))
        return self._decoder.answer(await super().commit_turn(encoded))

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        leased = await super().lease_activities(request)
        return [self._decoder.activity(activity) for activity in leased]

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        size = len(completion.message.data)
        encoded = await self._made(size, lambda: self._encoder.completion(completion))
        await super().complete_activity(encoded)

    async def complete_in_transaction(
        self, transaction: OpenTransaction, completion: ActivityCompletion
    ) -> None:
        encoded = await self._made(
            len(completion.message.data), lambda: self._encoder.completion(completion)
        )
        await super().complete_in_transaction(transaction, encoded)

    async def read_instance(self, instance: str) -> InstanceState | None:
        state = await super().read_instance(instance)
        return None if state is None else self._decoder.state(state)

    async def wait_for_change(self, wait: ChangeWait) -> InstanceState | None:
        state = await super().wait_for_change(wait)
        return None if state is None else self._decoder.state(state)

    async def reopen_instance(self, reopening: InstanceReopening) -> None:
        await super().reopen_instance(self._encoder.reopening(reopening))

    async def terminate_instance(self, termination: InstanceTermination) -> bool:
        return await super().terminate_instance(self._encoder.termination(termination))

    async def read_values(
        self, instance: str, *, keys: frozenset[str] | None = None
    ) -> InstanceValues | None:
        stored = await super().read_values(instance, keys=keys)
        return None if stored is None else self._decoder.values(stored)

    def as_management_capability(self) -> ProviderAdmin | None:
        admin = super().as_management_capability()
        return None if admin is None else DecodingAdmin(admin, self._decoder)

    async def _made(self, size: int, make: Callable[[], T]) -> T:
        """What `make` returns; made in a thread if `size` bytes are many and a loop would wait."""
        if size <= _LARGE or self.event_loop.blocks:
            return make()
        return await asyncio.to_thread(make)


def encoding_by(codecs: PayloadCodec | Sequence[PayloadCodec]) -> Callable[[Provider], Provider]:
    """A wrapper for providers whose payloads these codecs encode; raises `InvalidInput`.

    For packages that make a provider without `open_provider`, which wraps it by itself.
    """
    chain = CodecChain(codecs)
    return lambda provider: EncodingProvider(provider, chain)
