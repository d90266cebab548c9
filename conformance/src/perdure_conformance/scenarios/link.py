"""The link between one runtime and its storage. A scenario can watch, disturb and cut it.

The link passes every call on. It counts the calls under way, so that the simulation knows when
nothing moves. A cut link stands for a process that died: later calls have no effect, and no answer
arrives. A disturbance may hold a call, lose its answer, or change what is stored.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar, cast

from perdure.contract import (
    ENGINE,
    CommitAnswer,
    DelegatingProvider,
    LeasedTurn,
    Provider,
    ProviderCall,
    TurnCommit,
    TurnRequest,
    WorkWait,
)
from perdure.errors import StorageFailed, StorageUnavailable

from perdure_conformance.scenarios.simulation_clocks import CURRENT_WAIT, Wait

R = TypeVar("R")

Disturbance = Callable[[str, object, Callable[[], Awaitable[object]]], Awaitable[object]]
"""Gets the operation, its first argument, and the call itself; returns the answer."""


class Link(DelegatingProvider):
    """See the module."""

    def __init__(self, inner: Provider, engine: int = ENGINE) -> None:
        super().__init__(inner)
        # On a manual clock SQLite does not notice commits of other processes, so the runtime looks
        # sooner after work, as it does where nothing tells of it.
        self.tells_of_work = False
        self._engine = engine
        self.calls: Counter[str] = Counter()
        """The number of calls by operation."""
        self.disturbance: Disturbance | None = None
        self.rewrite: Callable[[TurnCommit], TurnCommit] | None = None
        """Changes a commit before it is stored."""
        self._under_way = 0
        self._waits: set[Wait] = set()
        self._cut = False
        self._disposed = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether a call is under way in the storage."""
        return self._under_way > 0

    @property
    def looking(self) -> bool:
        """Whether a wait for work reads the storage, as far as the clock can tell."""
        return any(not wait.sleeps for wait in self._waits)

    @property
    def is_cut(self) -> bool:
        """Whether calls have no effect any more."""
        return self._cut

    def cut(self) -> None:
        """From now on no call has an effect or an answer."""
        self._cut = True

    def dispose(self) -> None:
        """End all calls that wait for an answer, with an error."""
        self._cut = True
        self._disposed.set()
        if isinstance(self.disturbance, Held):
            self.disturbance.let_through()

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        """Lease as a runtime of this engine does."""
        serves = replace(request.serves, engine=self._engine)
        return await super().lease_turns(replace(request, serves=serves))

    async def wait_for_work(self, wait: WorkWait) -> None:
        """Wait as a runtime of this engine does."""
        if wait.serves is not None:
            wait = replace(wait, serves=replace(wait.serves, engine=self._engine))
        await super().wait_for_work(wait)

    async def around(self, operation: str, call: ProviderCall[R]) -> R:
        """Pass the call on: watched, disturbed or cut."""
        if operation == "wait_for_change":
            return await call()
        if operation in ("wait_for_work", "wait_for_cancellation"):
            return await self._wait(operation, call)
        self.calls[operation] += 1
        await self._stop_if_cut()
        try:
            if self.disturbance is None:
                return await self._watched(call)
            answer = await self.disturbance(operation, call.argument, lambda: self._watched(call))
            return cast("R", answer)
        finally:
            await self._stop_if_cut()

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        return await super().commit_turn(commit if self.rewrite is None else self.rewrite(commit))

    async def _wait(self, operation: str, call: ProviderCall[R]) -> R:
        """A wait is not under way in the storage while its clock sleeps."""
        await self._stop_if_cut()
        with self._waiting():
            answer = await call()
        if isinstance(self.disturbance, Held):
            await self.disturbance.silence(operation)
        await self._stop_if_cut()
        return answer

    async def _watched(self, call: ProviderCall[R]) -> R:
        await self._stop_if_cut()
        self._under_way += 1
        try:
            return await call()
        finally:
            self._under_way -= 1

    async def _stop_if_cut(self) -> None:
        if self._cut:
            await self._disposed.wait()
            raise StorageFailed("the process is gone", operation="any")

    @contextmanager
    def _waiting(self) -> Generator[None]:
        mark = Wait()
        self._waits.add(mark)
        token = CURRENT_WAIT.set(mark)
        try:
            yield
        finally:
            CURRENT_WAIT.reset(token)
            self._waits.discard(mark)


def losing_answers(operation: str, times: int = 1) -> Disturbance:
    """A disturbance that makes the call and loses its answer, this many times."""
    left = times

    async def disturb(asked: str, _: object, call: Callable[[], Awaitable[object]]) -> object:
        nonlocal left
        answer = await call()
        if asked == operation and left:
            left -= 1
            raise StorageUnavailable("the answer was lost", operation=operation)
        return answer

    return disturb


class Held:
    """A disturbance that holds calls until it lets them through: before they are made, or after."""

    def __init__(
        self,
        chosen: Callable[[str, object], bool],
        *,
        after: bool = False,
        silenced: frozenset[str] = frozenset(),
    ) -> None:
        self._chosen = chosen
        self._after = after
        self.silenced = silenced
        """Operations whose calls are all held."""
        self._open = asyncio.Event()
        self.caught = 0
        """The number of held calls so far."""

    def let_through(self) -> None:
        """Let the held calls go on, and hold no more."""
        self._open.set()

    async def __call__(
        self, operation: str, argument: object, call: Callable[[], Awaitable[object]]
    ) -> object:
        await self.silence(operation)
        held = not self._open.is_set() and self._chosen(operation, argument)
        if held and not self._after:
            await self._hold()
        answer = await call()
        if held and self._after:
            await self._hold()
        return answer

    async def silence(self, operation: str) -> None:
        """Hold the caller where the operation is silenced."""
        if operation in self.silenced and not self._open.is_set():
            await self._open.wait()

    async def _hold(self) -> None:
        self.caught += 1
        await self._open.wait()
