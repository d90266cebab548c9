"""What the tests of the runtime share: stores for stages, and a provider that is counted and tampered with."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
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
def clock() -> perdure.ManualClock:
    """A clock that moves only when told to."""
    return perdure.ManualClock()


@pytest.fixture
async def provider(clock: perdure.ManualClock) -> AsyncIterator[WatchedProvider]:
    """An open provider in memory, by the manual clock."""
    async with perdure.open_provider("memory://", clock=clock) as opened:
        yield WatchedProvider(opened)
