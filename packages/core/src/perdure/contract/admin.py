"""The management capability: looking at what is stored, apart from running it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from perdure.records.instances import InstanceStatus
from perdure.records.queries import ExecutionState, IdPage, StoreMetrics, StoreQueueDepths
from perdure.records.turns import HistoryPage


class ProviderAdmin(ABC):
    """What a provider that declares the capability `management` answers.

    Reads only; nothing here changes an instance. Listings are newest first by creation, and
    follow `token` without gaps: what existed when the first page was read, and still fits, is
    on exactly one page.
    """

    @abstractmethod
    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        """Ids of all instances, or of those with this status.

        CONTINUED_AS_NEW lists the instances that have any execution which ended so.
        A token that this provider did not give raises `InvalidInput`.
        """

    @abstractmethod
    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        """All executions of an instance, ascending; empty where there is no such instance."""

    async def list_execution_numbers(self, instance: str) -> Sequence[int]:
        """The numbers of all executions of an instance, ascending.

        A provider that can tell them without reading what the executions gave implements it.
        """
        return [state.execution for state in await self.list_executions(instance)]

    @abstractmethod
    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        """One execution, or None."""

    @abstractmethod
    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        """Events of any execution with numbers above `after`, in order, in pages.

        An execution or instance that does not exist has none.
        """

    @abstractmethod
    async def count_instances(self) -> StoreMetrics:
        """Counts of instances, executions and events that add up."""

    @abstractmethod
    async def count_queues(self) -> StoreQueueDepths:
        """How much waits in the queues. Void messages and activities don't count."""
