"""A storage whose calls lock what they concern, and whose looks skip what is locked (CALL-14).

It is right, as a database with SKIP LOCKED is. Broken providers skip too much, or for ever.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from perdure.clock import Clock
from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    CommitAnswer,
    Message,
    NewInstance,
    TurnCommit,
    TurnLease,
    TurnRelease,
)

from perdure_conformance.broken_providers import Broken, StoreBackend, breaks
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.model.tables import ActivityRow, InstanceRow

STEPS = 3
"""Steps of the event loop that a call takes before its effect, and after it."""


class LockingStore(Store):
    """Knows which instances are locked."""

    def __init__(self) -> None:
        super().__init__()
        self.locked: Counter[str] = Counter()
        self.passed_over: set[str] = set()
        """For providers that never find again what they have passed over."""

    def is_ready(self, row: InstanceRow) -> bool:
        return not self.locked[row.state.instance] and super().is_ready(row)

    def is_available(self, row: ActivityRow) -> bool:
        return not self.locked[row.instance] and super().is_available(row)


class SkipsWhatIsLocked(ModelProvider):
    """Locks the instances that a call concerns; looks take one step and skip them."""

    def __init__(self, store: Store, *, clock: Clock, description: str) -> None:
        super().__init__(store, clock=clock, description=description)
        if not isinstance(store, LockingStore):
            raise TypeError(f"{type(store).__name__} has no locks")
        self.locks = store

    async def create_instance(self, new: NewInstance) -> None:
        with self.holding([new.instance]):
            await steps()
            await super().create_instance(new)
            await steps()

    async def send(self, messages: Sequence[Message]) -> None:
        with self.holding(message.instance for message in messages):
            await steps()
            await super().send(messages)
            await steps()

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        sent = (message.instance for message in commit.send)
        with self.holding([commit.instance, *sent]):
            await steps()
            answer = await super().commit_turn(commit)
            await steps()
        return answer

    async def release_turn(self, release: TurnRelease) -> None:
        with self.holding([release.lease.instance]):
            await steps()
            await super().release_turn(release)
            await steps()

    async def release_activity(self, release: ActivityRelease) -> None:
        with self.holding([release.lease.instance]):
            await steps()
            await super().release_activity(release)
            await steps()

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        with self.holding([completion.lease.instance]):
            await steps()
            await super().complete_activity(completion)
            await steps()

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        with self.holding(lease.instance for lease in leases):
            await steps()
            gone = await super().renew_turns(leases, lease_for=lease_for)
            await steps()
        return gone

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        with self.holding(lease.instance for lease in leases):
            await steps()
            gone = await super().renew_activities(leases, lease_for=lease_for)
            await steps()
        return gone

    @contextmanager
    def holding(self, instances: Iterable[str]) -> Generator[None]:
        """Lock instances while the block lasts."""
        held = list(instances)
        self.locks.locked.update(held)
        try:
            yield
        finally:
            self.locks.locked.subtract(held)


async def steps() -> None:
    """Let other calls come in between."""
    for _ in range(STEPS):
        await asyncio.sleep(0)


def breaks_locking(*clauses: str) -> Callable[[type[SkipsWhatIsLocked]], Broken]:
    """Mark a kind of locking provider as one that breaks these clauses."""

    def marked(kind: type[SkipsWhatIsLocked]) -> Broken:
        return replace(breaks(*clauses)(kind), make=lambda: StoreBackend(LockingStore, kind))

    return marked
