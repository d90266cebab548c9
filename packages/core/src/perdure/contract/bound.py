"""Providers on a connection of the application, for clients alone.

A client of such a provider starts and raises in the application's transaction: what it stores is
there when the application commits, together with what the application wrote, or never. No worker
can run on one, and nothing can be waited for, because nothing happens before the commit.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import NoReturn, TypeVar, cast

from perdure.clock import Clock
from perdure.contract.admin import ProviderAdmin
from perdure.contract.event_loop import ProviderLoop
from perdure.contract.provider import Provider
from perdure.contract.url import masked
from perdure.errors import ClientUnusable, InvalidInput
from perdure.records.activities import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    LeasedActivity,
)
from perdure.records.instances import InstanceState, InstanceStatus, Message, NewInstance
from perdure.records.listing import InstancePage, InstanceQuery, InstanceWork
from perdure.records.queries import (
    CancellationWait,
    ChangeWait,
    ExecutionState,
    IdPage,
    StoreMetrics,
    StoreQueueDepths,
    WorkWait,
)
from perdure.records.turns import (
    CommitAnswer,
    HistoryPage,
    LeasedTurn,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
)

R = TypeVar("R")


class BoundLoop(ProviderLoop):
    """Calls to a bound provider run where they are made: in the thread, or on the loop, of its
    connection."""

    def __init__(self, description: str, *, blocks: bool) -> None:
        super().__init__(description)
        self._blocks = blocks
        self._name = description

    @property
    def blocks(self) -> bool:
        return self._blocks

    def check_blocking(self) -> None:
        if not self._blocks:
            raise ClientUnusable(
                f"{self._name} is an async connection, for which a blocking client cannot wait;"
                " use Client, or bind a connection that blocks"
            )

    def check_waiting(self) -> None:
        raise ClientUnusable(
            f"a client that is bound to {self._name} cannot wait: nothing runs before the"
            " transaction is committed; commit it, and wait with a client of open_provider"
        )

    def check_working(self) -> None:
        raise ClientUnusable(
            f"{self._name} is a connection of the application, on which no runtime can work; open a"
            " provider for it with perdure.open_provider"
        )

    def call_blocking(self, call: Callable[[], Awaitable[R]]) -> R:
        self.check_blocking()
        made = cast("Coroutine[object, None, R]", call())
        try:
            # A call that only lets other tasks run yields None. No call waits for anything else.
            while made.send(None) is None:
                pass
        except StopIteration as end:
            return cast("R", end.value)
        made.close()
        raise ClientUnusable(
            f"the call would wait, and {self._name} has no event loop; make it with a client of"
            " open_provider"
        )


class BoundProvider(Provider):
    """Base of the providers that `bind` functions return.

    A subclass implements what it offers to clients; a connection that blocks must never suspend.
    What is bound to one connection belongs to the thread or task that has the connection.
    """

    def __init__(self, *, clock: Clock, description: str, blocks: bool) -> None:
        super().__init__(clock=clock, description=description)
        self.event_loop = BoundLoop(description, blocks=blocks)

    @abstractmethod
    async def create_instance(self, new: NewInstance) -> None:
        """As `Provider.create_instance`; seen by others from the commit on."""

    @abstractmethod
    async def send(self, messages: Sequence[Message]) -> None:
        """As `Provider.send`; seen by others from the commit on."""

    @abstractmethod
    async def read_instance(self, instance: str) -> InstanceState | None:
        """As `Provider.read_instance`, as the transaction sees it."""

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        self._refuse("lease_turns")

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        self._refuse("read_history")

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        self._refuse("commit_turn")

    async def release_turn(self, release: TurnRelease) -> None:
        self._refuse("release_turn")

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        self._refuse("renew_turns")

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        self._refuse("lease_activities")

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        self._refuse("complete_activity")

    async def release_activity(self, release: ActivityRelease) -> None:
        self._refuse("release_activity")

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        self._refuse("renew_activities")

    async def wait_for_work(self, wait: WorkWait) -> None:
        self.event_loop.check_waiting()

    async def wait_for_change(self, wait: ChangeWait) -> None:
        self.event_loop.check_waiting()

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        self._refuse("wait_for_cancellation")

    def _refuse(self, operation: str) -> NoReturn:
        raise ClientUnusable(
            f"{self.description} starts instances and raises events, and does not have"
            f" {operation}; open a provider for it with perdure.open_provider"
        )


class BoundAdmin(ProviderAdmin):
    """Listings and counts as the application's transaction sees them.

    `make` is asked at each call: what the last one looked up may have been rolled back.
    """

    def __init__(self, make: Callable[[], Awaitable[ProviderAdmin]]) -> None:
        self._make = make

    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        admin = await self._make()
        return await admin.list_instances(status=status, limit=limit, token=token)

    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        return await (await self._make()).list_executions(instance)

    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        return await (await self._make()).read_execution(instance, execution)

    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        return await (await self._make()).read_events(instance, execution, after=after)

    async def count_instances(self) -> StoreMetrics:
        return await (await self._make()).count_instances()

    async def count_queues(self) -> StoreQueueDepths:
        return await (await self._make()).count_queues()

    async def find_instances(
        self, query: InstanceQuery, *, limit: int, token: str | None = None
    ) -> InstancePage:
        return await (await self._make()).find_instances(query, limit=limit, token=token)

    async def read_work(self, instance: str) -> InstanceWork | None:
        return await (await self._make()).read_work(instance)


def is_of_class(value: object, module: str, name: str) -> bool:
    """Whether the value is of a class of a module, which may not be installed.

    A module that is not imported has no objects, so it is not imported for this.
    """
    found = sys.modules.get(module)
    return found is not None and isinstance(value, getattr(found, name))


def cannot_be_bound(value: object, *, instead: str) -> InvalidInput:
    """The error for what `bind` cannot bind; `instead` names what it can."""
    if isinstance(value, str):
        named = repr(masked(value))
    else:
        named = f"an object of {type(value).__module__}.{type(value).__qualname__}"
    if is_of_class(value, "sqlalchemy.orm", "Session") or is_of_class(
        value, "sqlalchemy.ext.asyncio", "AsyncSession"
    ):
        instead = "its connection, `session.connection()`"
    return InvalidInput(f"{named} cannot be bound; pass {instead}")
