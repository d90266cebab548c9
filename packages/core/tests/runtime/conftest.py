"""What the tests of the runtime share: a provider on memory and on SQLite, counted and tampered with."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import perdure
import pytest
from perdure.contract import (
    ActivityCompletion,
    ActivityRequest,
    CommitAnswer,
    DelegatingProvider,
    HistoryPage,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewInstance,
    Provider,
    TurnCommit,
    TurnRelease,
    TurnRequest,
)
from perdure.errors import StorageUnavailable


class WatchedProvider(DelegatingProvider):
    """Counts calls that had something to do, and loses answers where told to."""

    def __init__(self, inner: Provider) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        self.commits: list[TurnCommit] = []
        self.lose_next_answer: set[str] = set()

    def _answered(self, operation: str) -> None:
        self.calls[operation] += 1
        if operation in self.lose_next_answer:
            self.lose_next_answer.discard(operation)
            raise StorageUnavailable("the answer was lost", operation=operation)

    async def create_instance(self, new: NewInstance) -> None:
        await super().create_instance(new)
        self._answered("create_instance")

    async def send(self, messages: Sequence[Message]) -> None:
        await super().send(messages)
        self._answered("send")

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        leased = await super().lease_turns(request)
        if leased:
            self._answered("lease_turns")
        return leased

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        self.calls["read_history"] += 1
        return await super().read_history(instance, execution, incarnation=incarnation, after=after)

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        answer = await super().commit_turn(commit)
        self.commits.append(commit)
        self._answered("commit_turn")
        return answer

    async def release_turn(self, release: TurnRelease) -> None:
        await super().release_turn(release)
        self._answered("release_turn")

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        leased = await super().lease_activities(request)
        if leased:
            self._answered("lease_activities")
        return leased

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await super().complete_activity(completion)
        self._answered("complete_activity")


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh store of every kind that needs no server."""
    if request.param == "memory":
        return "memory://"
    return f"sqlite:///{tmp_path / 'perdure.db'}"


@pytest.fixture
async def provider(url: str) -> AsyncIterator[WatchedProvider]:
    """An open provider on the wall clock."""
    async with perdure.open_provider(url) as opened:
        yield WatchedProvider(opened)


@pytest.fixture
def clock() -> perdure.ManualClock:
    """A clock that moves only when told to."""
    return perdure.ManualClock()


@pytest.fixture
async def timed_provider(url: str, clock: perdure.ManualClock) -> AsyncIterator[WatchedProvider]:
    """An open provider on the manual clock."""
    async with perdure.open_provider(url, clock=clock) as opened:
        yield WatchedProvider(opened)


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    async with asyncio.timeout(seconds):
        yield


@pytest.fixture
def eventually() -> Callable[[Callable[[], object | Awaitable[object]]], Awaitable[None]]:
    """Wait in real time until a condition holds; fails after a minute."""

    async def wait(condition: Callable[[], object | Awaitable[object]]) -> None:
        async with _within(60):
            while True:
                value = condition()
                if isinstance(value, Awaitable):
                    value = await value
                if value:
                    return
                await asyncio.sleep(0.001)

    return wait


@pytest.fixture
def pass_time(
    clock: perdure.ManualClock,
) -> Callable[..., Awaitable[None]]:
    """Move the manual clock in steps, letting work settle in between, until a condition holds."""

    async def move(
        condition: Callable[[], object | Awaitable[object]],
        step: timedelta = timedelta(seconds=1),
        most: int = 2000,
    ) -> None:
        async with _within(20):
            for _ in range(most):
                for _ in range(5):
                    value = condition()
                    if isinstance(value, Awaitable):
                        value = await value
                    if value:
                        return
                    await asyncio.sleep(0.0005)
                clock.advance(step)
        raise AssertionError("the condition did not come true")

    return move
