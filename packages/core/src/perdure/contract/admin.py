"""The management capability: reading what is stored, apart from running it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from perdure.errors import CapabilityMissing
from perdure.records.instances import InstanceStatus
from perdure.records.limits import LISTING
from perdure.records.listing import InstancePage, InstanceQuery, InstanceWork
from perdure.records.queries import ExecutionState, IdPage, StoreMetrics, StoreQueueDepths
from perdure.records.turns import HistoryPage


class ProviderAdmin(ABC):
    """The methods of a provider that declares the capability `management`.

    They only read. Listings are ordered by creation, newest first. Following `token` returns every
    instance that existed when the first page was read, and still matches, on exactly one page.
    """

    @abstractmethod
    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        """A page of up to `limit` ids of all instances, or of those with this status.

        CONTINUED_AS_NEW lists the instances that have any execution with that status. A token that
        this provider did not return raises `InvalidInput`.
        """

    @abstractmethod
    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        """All executions of an instance, ascending; empty if the instance does not exist."""

    async def list_execution_numbers(self, instance: str) -> Sequence[int]:
        """The numbers of all executions of an instance, ascending.

        Override it if the provider can read the numbers without the outputs of the executions.
        """
        return [state.execution for state in await self.list_executions(instance)]

    @abstractmethod
    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        """One execution, or None."""

    @abstractmethod
    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        """The events of any execution with numbers above `after`, in order, in pages.

        The page is empty if the execution or the instance does not exist.
        """

    @abstractmethod
    async def count_instances(self) -> StoreMetrics:
        """Counts of instances, executions and events; the instances by status add up to the total."""

    @abstractmethod
    async def count_queues(self) -> StoreQueueDepths:
        """The lengths of the queues, without void messages and activities, and since when the oldest
        message and the oldest activity wait.
        """

    async def find_instances(
        self, query: InstanceQuery, *, limit: int, token: str | None = None
    ) -> InstancePage:
        """A page of up to `limit` instances that meet the query, in the order of `list_instances`.

        A page has a bounded cost, whatever is stored: it may come back short, or empty, with a token
        that leads on. It holds up to `MAX_BYTES_PER_DELIVERY` bytes of outputs and custom statuses, and
        at least one instance if it found one. An instance that meets the query during the whole
        listing is on exactly one page. A token that this provider did not return raises
        `InvalidInput`.
        """
        del query, limit, token
        raise CapabilityMissing(LISTING, type(self).__name__)

    async def read_work(self, instance: str) -> InstanceWork | None:
        """What is queued for an instance, without void work; None if it does not exist."""
        del instance
        raise CapabilityMissing(LISTING, type(self).__name__)
