"""The bench: what a check works with.

Each check gets its own bench: a fresh namespace, a manual clock, and any number of provider objects
on the same storage. A check can abandon a provider object without closing it, as a crashed process
does. The other methods are shortcuts for the calls that most checks make.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Generic, TypeVar, Unpack

from perdure.clock import Clock, Instant, ManualClock, to_microseconds
from perdure.contract import (
    ActivityCompletion,
    ActivityRequest,
    CommitAnswer,
    InstanceState,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewActivity,
    NewInstance,
    Provider,
    ProviderAdmin,
    Serves,
    StoredEvent,
    TurnCommit,
    TurnLease,
    TurnRequest,
)
from perdure.errors import ActivityLeaseLost, HistoryConflict, LeaseLost, ProviderError

from perdure_conformance.backend import Backend, clean_up
from perdure_conformance.expect import ClauseBroken, expect, expect_equal
from perdure_conformance.samples import (
    LEASE,
    SERVES,
    WORK,
    CommitFields,
    commit_of,
    incarnation_of,
    new_instance,
    result,
)
from perdure_conformance.tampering import EventPlace, Tampering

T = TypeVar("T")

PATIENCE = 20.0
"""Real seconds after which a call that has to return is given up."""

ODD = timedelta(microseconds=271_829)
"""Every check begins this long after a full second, so that it notices instants that were rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCall(Generic[T]):
    """What came of a call, one of whose accesses to the storage failed."""

    answer: T | None
    error: ProviderError | None
    reached: bool
    """Whether the call had so many accesses."""


class Bench:
    """A namespace, a clock, and provider objects."""

    def __init__(self, backend: Backend, stack: AsyncExitStack, provider_namespace: str) -> None:
        self.backend = backend
        self.tampering = Tampering(backend)
        self.notes: list[str] = []
        """What the report says about a check that passes, such as how much it has tried."""
        self.clock = ManualClock()
        self.clock.advance(ODD)
        self.namespace = provider_namespace
        self._stack = stack
        self._open: dict[Provider, AsyncExitStack] = {}
        self.namespaces = {provider_namespace: None}
        """Those that provider objects were opened on, in their order."""
        self._count = 0
        self.provider: Provider

    async def open(self, *, namespace: str | None = None, clock: Clock | None = None) -> Provider:
        """Another provider object on the same storage, by the bench's clock or another one."""
        # Its own stack, entered into the bench's: closed early by `close`, else at the end.
        self.namespaces[namespace or self.namespace] = None
        stack = await self._stack.enter_async_context(AsyncExitStack())
        provider = await stack.enter_async_context(
            self.backend.open(clock=clock or self.clock, namespace=namespace or self.namespace)
        )
        self._open[provider] = stack
        return provider

    async def close(self, provider: Provider) -> None:
        """Close a provider object as its owner would."""
        await self._open.pop(provider).aclose()

    async def crash(self) -> Provider:
        """Abandon the bench's provider object without a close, and go on with a new one.

        The old object is closed at the end of the check; no more calls go to it.
        """
        self.provider = await self.open()
        return self.provider

    def fresh(self, what: str = "id") -> str:
        """A text that this bench has not returned before."""
        self._count += 1
        return f"{what}-{self._count}"

    @property
    def now(self) -> Instant:
        """What the clock says."""
        return self.clock.now()

    def after(self, duration: timedelta) -> Instant:
        """The instant this far from now."""
        return self.now + to_microseconds(duration)

    def advance(self, duration: timedelta) -> None:
        """Move the clock forward."""
        self.clock.advance(duration)

    async def within(self, call: Awaitable[T], what: str) -> T:
        """The answer of a call that has to return while the clock stands still."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await call
        except TimeoutError:
            raise ClauseBroken(f"{what} did not return within {PATIENCE:g} s") from None

    async def all_of(self, calls: Iterable[Awaitable[T]]) -> list[T | BaseException]:
        """The answers or errors of concurrent calls."""
        return await asyncio.gather(*calls, return_exceptions=True)

    async def all_well(self, calls: Iterable[Awaitable[T]]) -> list[T]:
        """The answers of concurrent calls; raises the first error."""
        return list(await asyncio.gather(*calls))

    async def cancelled(self, call: Awaitable[object], *, steps: int) -> None:
        """Begin a call, and cancel it when the event loop has made this many steps."""
        task = asyncio.ensure_future(call)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def failed(
        self, call: Callable[[], Awaitable[T]], what: str, *, step: int
    ) -> FailedCall[T]:
        """Make a call, and let its access to the storage with this number fail."""
        answer: T | None = None
        error: ProviderError | None = None
        with self.tampering.failing_steps.fail_at(self.provider, step) as failing:
            try:
                answer = await self.within(call(), f"{what} whose step {step} fails")
            except (LeaseLost, HistoryConflict, ActivityLeaseLost) as refusal:
                raise ClauseBroken(
                    f"{what} whose step {step} fails was refused: {refusal}"
                ) from None
            except ProviderError as raised:
                error = raised
        return FailedCall(answer=answer, error=error, reached=failing.reached)

    async def create(self, new: NewInstance | str = "alpha") -> NewInstance:
        """Create an instance."""
        new = new_instance(new) if isinstance(new, str) else new
        await self.provider.create_instance(new)
        return new

    async def send(self, *messages: Message) -> None:
        """Send messages in one call."""
        await self.provider.send(messages)

    async def lease(
        self,
        *,
        token: str | None = None,
        limit: int = 100,
        lease_for: timedelta = LEASE,
        serves: Serves = SERVES,
        unregistered_for: timedelta | None = None,
        provider: Provider | None = None,
    ) -> Sequence[LeasedTurn]:
        """Lease turns under a new token."""
        request = TurnRequest(
            token=token or self.fresh("token"),
            limit=limit,
            lease_for=lease_for,
            serves=serves,
            unregistered_for=unregistered_for,
        )
        return await (provider or self.provider).lease_turns(request)

    async def take(
        self,
        instance: str = "alpha",
        *,
        token: str | None = None,
        lease_for: timedelta = LEASE,
        provider: Provider | None = None,
    ) -> LeasedTurn:
        """Lease the one instance that is ready."""
        turns = await self.lease(token=token, lease_for=lease_for, provider=provider)
        expect_equal([turn.state.instance for turn in turns], [instance], "instances leased")
        return turns[0]

    async def pick(self, instance: str) -> LeasedTurn:
        """Lease everything that is ready, and return the turn of this instance."""
        turns = {turn.state.instance: turn for turn in await self.lease()}
        if instance not in turns:
            raise ClauseBroken(f"{instance!r} could not be leased, but {sorted(turns)} could")
        return turns[instance]

    async def expect_nothing_ready(self, why: str, *, provider: Provider | None = None) -> None:
        """Complain if anything can be leased."""
        turns = await self.lease(provider=provider)
        expect_equal([turn.state.instance for turn in turns], [], f"{why}, instances leased")

    def draft(self, turn: LeasedTurn, **fields: Unpack[CommitFields]) -> TurnCommit:
        """A commit of this turn. By default it removes the delivered messages."""
        return commit_of(turn, **{"id": self.fresh("commit"), **fields})

    async def commit(self, turn: LeasedTurn, **fields: Unpack[CommitFields]) -> CommitAnswer:
        """Commit this turn."""
        return await self.provider.commit_turn(self.draft(turn, **fields))

    async def started(self, instance: str = "alpha") -> LeasedTurn:
        """Create an instance and lease its first turn."""
        await self.create(instance)
        return await self.take(instance)

    async def keep(self, turn: LeasedTurn, **fields: Unpack[CommitFields]) -> LeasedTurn:
        """Commit this turn, keep the lease, and return the turn as it is after the commit."""
        commit = self.draft(turn, **{"keep_for": LEASE, **fields})
        answer = await self.provider.commit_turn(commit)
        expect(answer.lease_until is not None, "the answer of a commit with keep_for has no lease")
        return replace(
            turn,
            state=await self.state(turn.state.instance),
            attempt=1,
            messages=answer.messages,
            more=answer.more,
        )

    async def with_activities(
        self, *activities: NewActivity, instance: str = "alpha"
    ) -> LeasedTurn:
        """An instance with these activities, and its turn, whose lease is kept."""
        turn = await self.started(instance)
        return await self.keep(turn, events=(b"scheduled",), add=activities)

    async def lease_work(
        self,
        *,
        token: str | None = None,
        limit: int = 100,
        lease_for: timedelta = LEASE,
        names: frozenset[str] = WORK,
        tags: frozenset[str | None] = frozenset({None}),
        unregistered_for: timedelta | None = None,
        provider: Provider | None = None,
    ) -> Sequence[LeasedActivity]:
        """Lease activities under a new token."""
        request = ActivityRequest(
            token=token or self.fresh("worker"),
            limit=limit,
            lease_for=lease_for,
            names=names,
            tags=tags,
            unregistered_for=unregistered_for,
        )
        return await (provider or self.provider).lease_activities(request)

    async def take_work(
        self, activity: str = "job", *, token: str | None = None, lease_for: timedelta = LEASE
    ) -> LeasedActivity:
        """Lease the one activity that is available."""
        leased = await self.lease_work(token=token, lease_for=lease_for)
        expect_equal([each.id for each in leased], [activity], "activities leased")
        return leased[0]

    async def expect_no_work(self, why: str) -> None:
        """Complain if any activity can be leased."""
        leased = await self.lease_work()
        expect_equal([each.id for each in leased], [], f"{why}, activities leased")

    async def complete(self, work: LeasedActivity, *, message: str | None = None) -> None:
        """Complete an activity."""
        outcome = result(
            message or f"result-{work.id}",
            work.instance,
            incarnation=work.incarnation,
            execution=work.execution,
        )
        await self.provider.complete_activity(ActivityCompletion(lease=work.lease, message=outcome))

    async def state(
        self, instance: str = "alpha", provider: Provider | None = None
    ) -> InstanceState:
        """The plain fields of an instance that exists."""
        state = await (provider or self.provider).read_instance(instance)
        if state is None:
            raise ClauseBroken(f"instance {instance!r} cannot be read")
        return state

    async def history(
        self,
        instance: str = "alpha",
        execution: int = 1,
        *,
        incarnation: str | None = None,
        provider: Provider | None = None,
    ) -> list[StoredEvent]:
        """A whole history, page by page."""
        events: list[StoredEvent] = []
        while True:
            page = await (provider or self.provider).read_history(
                instance,
                execution,
                incarnation=incarnation or incarnation_of(instance),
                after=events[-1].number if events else 0,
            )
            events.extend(page.events)
            if not page.more:
                return events
            expect(page.events, "a page of history is empty although others follow")

    def place(self, number: int, *, instance: str = "alpha", execution: int = 1) -> EventPlace:
        """Where an event of this bench is stored."""
        return EventPlace(
            namespace=self.namespace, instance=instance, execution=execution, number=number
        )

    @property
    def admin(self) -> ProviderAdmin:
        """The management capability of the bench's provider object."""
        admin = self.provider.as_management_capability()
        if admin is None:
            raise ClauseBroken("as_management_capability is None although management is declared")
        return admin


def held_by(turn: LeasedTurn) -> TurnLease:
    """The name of a turn's lease."""
    return TurnLease(instance=turn.state.instance, token=turn.token)


@asynccontextmanager
async def open_bench(backend: Backend) -> AsyncGenerator[Bench]:
    """A bench with one provider object open; what it leaves in the storage is cleaned up."""
    stack = AsyncExitStack()
    bench = Bench(backend, stack, f"check-{uuid.uuid4().hex[:12]}")
    try:
        async with stack:
            bench.provider = await bench.open()
            yield bench
    finally:
        await clean_up(backend, bench.namespaces)
