"""A bench: a provider on a manual clock, with short words for what the tests say."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import count

import pytest
from perdure.clock import to_microseconds
from perdure.contract import (
    ActivityRequest,
    LeasedActivity,
    LeasedTurn,
    ManualClock,
    Message,
    MessageKind,
    NewInstance,
    Serves,
    TurnCommit,
    TurnRequest,
)
from perdure_conformance.samples import commit_of, new_instance
from perdure_memory import MemoryOptions, MemoryProvider

SECOND = timedelta(seconds=1)


class Bench:
    """A provider, its clock, and the calls that tests make."""

    def __init__(
        self, options: MemoryOptions | None = None, clock: ManualClock | None = None
    ) -> None:
        self.clock = clock or ManualClock()
        self.provider = MemoryProvider(options, clock=self.clock)
        self.numbers = count(1)

    def after(self, seconds: float) -> int:
        """The instant so many seconds from now."""
        return self.clock.now() + to_microseconds(seconds * SECOND)

    def message(
        self, message_id: str, instance: str = "a", kind: MessageKind = MessageKind.EVENT, **fields
    ) -> Message:
        fields.setdefault("data", b"")
        return Message(id=message_id, instance=instance, kind=kind, **fields)

    def new(self, instance: str = "a", incarnation: str = "first", **fields) -> NewInstance:
        given = {"incarnation": incarnation, "name": "order", "data": b"", **fields}
        return new_instance(instance, **given)

    async def create(self, instance: str = "a", **fields) -> None:
        await self.provider.create_instance(self.new(instance, **fields))

    async def lease(
        self, token: str | None = None, *, names: tuple[str, ...] = ("order",), **fields
    ) -> list[LeasedTurn]:
        fields.setdefault("limit", 10)
        fields.setdefault("lease_for", 30 * SECOND)
        fields.setdefault("serves", Serves(orchestrations={name: frozenset() for name in names}))
        token = token or f"token {next(self.numbers)}"
        return list(await self.provider.lease_turns(TurnRequest(token=token, **fields)))

    async def lease_one(self, token: str | None = None, **fields) -> LeasedTurn:
        [turn] = await self.lease(token, **fields)
        return turn

    async def take(self, token: str | None = None, **fields) -> list[LeasedActivity]:
        fields.setdefault("limit", 10)
        fields.setdefault("lease_for", 30 * SECOND)
        fields.setdefault("names", frozenset({"charge"}))
        token = token or f"token {next(self.numbers)}"
        return list(await self.provider.lease_activities(ActivityRequest(token=token, **fields)))

    def commit_of(self, turn: LeasedTurn, **fields) -> TurnCommit:
        return commit_of(turn, **{"id": f"commit {next(self.numbers)}", **fields})

    async def commit(self, turn: LeasedTurn, **fields):
        return await self.provider.commit_turn(self.commit_of(turn, **fields))

    async def settle(self) -> None:
        """Let all tasks run until they wait for the clock or for each other."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def new_bench() -> type[Bench]:
    return Bench
