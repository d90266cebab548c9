"""The stage of a proof: its process crashes at chosen commits, and its activities are counted.

Every run is the same up to its first crash: time stands at the same instants, and what is derived
from a random incarnation elsewhere is derived from the instance's id. A crash takes no time: the
storage gets back what the process had leased, so that no time limit of the orchestration is
exceeded by the crash alone.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from types import TracebackType
from typing import Literal, TypeAlias, TypeVar, cast

from perdure.authoring.functions import ActivityDefinition
from perdure.authoring.registry import Registry
from perdure.client.calls import has_ended, status_of
from perdure.contract.delegate import ProviderCall
from perdure.contract.provider import Provider
from perdure.history import Event, decode_event
from perdure.model.message_ids import start_id
from perdure.model.record import record
from perdure.model.status import Completed, Failed
from perdure.providers.loader import ProviderOpener
from perdure.records.activities import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    LeasedActivity,
)
from perdure.records.instances import NewInstance
from perdure.records.turns import LeasedTurn, TurnCommit, TurnLease, TurnRelease
from perdure.runtime.activity_context import activity_context
from perdure.runtime.options import RuntimeOptions
from perdure.testing.stage import Stage
from perdure.testing.stage_client import ClientLink
from perdure.testing.stage_provider import StageProvider
from perdure.testing.stage_time import StageTime

R = TypeVar("R")

When: TypeAlias = Literal["before", "after"]
"""On which side of its commit a crash is: after it, only the answer is lost."""

_OPTIONS = RuntimeOptions(max_attempts=1_000)


@record(kw_only=False)
class Crash:
    """A crash of the process at one of its commits."""

    commit: int
    """Which commit, from 1; counted from the start, or from the crash before."""
    when: When
    """Whether the process ends before the commit takes effect, or after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashSite:
    """Where a crash came about."""

    crash: Crash
    instance: str
    """The instance whose commit it was."""
    last_event: int | None
    """The last event of its history before the commit; None if only a message was stored."""
    events: tuple[Event, ...]
    """The events of the commit."""

    def __str__(self) -> str:
        what = ", ".join(event.kind for event in self.events) or "the result of an activity"
        return f"a crash {self.crash.when} commit {self.crash.commit}, of {self.instance!r}: {what}"


class CrashPlan:
    """The crashes that are still to come, over all the processes of a run, and those that came."""

    def __init__(self, crashes: Sequence[Crash]) -> None:
        self._left = list(crashes)
        self._commits = 0
        self.sites: list[CrashSite] = []

    @property
    def is_done(self) -> bool:
        """Whether every crash came about."""
        return not self._left

    def next_at(self, argument: TurnCommit | ActivityCompletion) -> When | None:
        """On which side of this commit the process crashes; None if it goes on."""
        self._commits += 1
        if not self._left or self._left[0].commit > self._commits:
            return None
        crash = self._left.pop(0)
        self._commits = 0
        self.sites.append(_site(crash, argument))
        return crash.when


def _site(crash: Crash, argument: TurnCommit | ActivityCompletion) -> CrashSite:
    if isinstance(argument, ActivityCompletion):
        instance = argument.message.instance
        return CrashSite(crash=crash, instance=instance, last_event=None, events=())
    first = argument.expected_event
    events = tuple(decode_event(first + n, data) for n, data in enumerate(argument.events, 1))
    return CrashSite(crash=crash, instance=argument.instance, last_event=first, events=events)


class CrashingProvider(StageProvider):
    """The storage as one process of a proof sees it; it knows what the process has leased."""

    def __init__(
        self, inner: Provider, time: StageTime, plan: CrashPlan, crashed: Callable[[], None]
    ) -> None:
        super().__init__(inner, time)
        self._plan = plan
        self._crashed = crashed
        self._turns: dict[TurnLease, None] = {}
        self._activities: dict[ActivityLease, None] = {}

    async def around(self, operation: str, call: ProviderCall[R]) -> R:
        """Make the call, and crash before or after it if the plan says so."""
        argument, when = call.argument, None
        if isinstance(argument, TurnCommit | ActivityCompletion) and not self.has_crashed:
            when = self._plan.next_at(argument)
        if when == "before":
            self._crash_as_planned()
        answer = await super().around(operation, call)
        if when == "after":
            self._crash_as_planned()
            await self.stop_after_crash()
        return answer

    def _crash_as_planned(self) -> None:
        self.crash()
        self._crashed()

    def note_answer(self, argument: object, answer: object) -> None:
        """Note what the process has leased: a lease may be given while it crashes."""
        if isinstance(argument, TurnCommit) and argument.activity_token is not None:
            for each in argument.add:
                if each.lease:
                    self._hold(argument.instance, each.id, argument.activity_token)
        elif isinstance(answer, list | tuple):
            for leased in cast("Sequence[object]", answer):
                if isinstance(leased, LeasedTurn):
                    lease = TurnLease(instance=leased.state.instance, token=leased.token)
                    self._turns[lease] = None
                elif isinstance(leased, LeasedActivity):
                    self._activities[leased.lease] = None

    def _hold(self, instance: str, activity: str, token: str) -> None:
        self._activities[ActivityLease(instance=instance, activity=activity, token=token)] = None

    async def expire_leases(self) -> None:
        """Let the storage have back what the process has leased, as if the leases were over."""
        for turn in self._turns:
            await self.inner.release_turn(TurnRelease(lease=turn))
        for activity in self._activities:
            await self.inner.release_activity(ActivityRelease(lease=activity))


class NamedIncarnations(ClientLink):
    """The storage as the client of a proof sees it: incarnations are the same in each run."""

    async def create_instance(self, new: NewInstance) -> None:
        incarnation = hashlib.sha256(new.instance.encode()).hexdigest()[:32]
        start = replace(new.start, id=start_id(incarnation), incarnation=incarnation)
        await super().create_instance(replace(new, incarnation=incarnation, start=start))


class ProofStage(Stage):
    """A stage whose process crashes by a plan, and starts again at once."""

    def __init__(
        self,
        *registries: Registry,
        storage: ProviderOpener,
        resources: object,
        plan: CrashPlan,
        cached: bool,
    ) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        """How often each activity was called, by its name and its input."""
        self.keys: dict[tuple[str, str], set[str]] = {}
        """The idempotency keys of these calls."""
        self._opener = storage
        self._plan = plan
        self._recovery: asyncio.Task[None] | None = None
        hold = _OPTIONS.hold if cached else timedelta(0)
        super().__init__(*registries, resources=resources, options=replace(_OPTIONS, hold=hold))
        self._deployed = replace(self._deployed, keeps_executions=cached)

    async def outcomes(self) -> dict[str, Completed | Failed]:
        """The outcome of each instance that has ended."""
        page = await self.client.list_all_instances()
        states = [await self._storage.read_instance(instance) for instance in page]
        return {
            state.instance: cast("Completed | Failed", status_of(state))
            for state in states
            if state is not None and has_ended(state)
        }

    def _open_storage(self) -> AbstractAsyncContextManager[Provider]:
        return self._opener.open(self.clock)

    def _new_link(self, *, tells_of_cancellations: bool) -> StageProvider:
        if tells_of_cancellations:  # a worker of the script, which does not crash by the plan
            return super()._new_link(tells_of_cancellations=True)
        return CrashingProvider(self._storage, self._time, self._plan, self._recover)

    def _client_link(self) -> StageProvider:
        return NamedIncarnations(self._storage, self._time)

    def _wrapper(self) -> Callable[[ActivityDefinition], ActivityDefinition]:
        return self._counted

    def _counted(self, definition: ActivityDefinition) -> ActivityDefinition:
        function = definition.function

        def count(args: object, kwargs: dict[str, object]) -> None:
            call = (definition.name, repr(args) if not kwargs else repr(kwargs))
            self.calls[call] += 1
            self.keys.setdefault(call, set()).add(activity_context().idempotency_key)

        async def call_counted(*args: object, **kwargs: object) -> object:
            count(args, kwargs)
            return await cast("Awaitable[object]", function(*args, **kwargs))

        def call_counted_in_thread(*args: object, **kwargs: object) -> object:
            count(args, kwargs)
            return function(*args, **kwargs)

        counted = call_counted if definition.asynchronous else call_counted_in_thread
        return replace(definition, function=wraps(function)(counted))

    def _recover(self) -> None:
        self._recovery = asyncio.ensure_future(self._start_over(self._recovery))

    async def _start_over(self, earlier: asyncio.Task[None] | None) -> None:
        link = cast("CrashingProvider", self._process.link)
        with self._time.paused():
            if earlier is not None:
                await earlier
            await self._process.dispose()
            await link.expire_leases()
            await self._process.start_again()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._recovery is not None:
                await self._recovery
        finally:
            await super().__aexit__(kind, error, trace)
