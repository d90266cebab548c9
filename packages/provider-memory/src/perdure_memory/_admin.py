"""The management capability: reads only."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice

from perdure.contract import (
    MAX_BYTES_PER_DELIVERY,
    MAX_MESSAGES_PER_DELIVERY,
    Clock,
    ExecutionState,
    HistoryPage,
    IdPage,
    InstancePage,
    InstanceQuery,
    InstanceState,
    InstanceStatus,
    InstanceWork,
    Instant,
    ProviderAdmin,
    QueuedMessage,
    StoredEvent,
    StoreMetrics,
    StoreQueueDepths,
    check_limit,
    checked_page,
    first_page,
)
from perdure.errors import InvalidInput

from perdure_memory._instances import Execution, Instance
from perdure_memory._listing_index import status_group
from perdure_memory._store import Store

_NUMBER = re.compile(r"(0|[1-9][0-9]{0,17})\Z")

MOST_LOOKED_AT = 1000
"""How many instances one page of a search looks at."""
MOST_SHOWN = 1000
"""How many activities, and how many messages, a look at the work of an instance shows."""


class MemoryAdmin(ProviderAdmin):
    """The management capability of a store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        check_limit(limit)
        with self._store.lock:
            store = self._store
            before = store.next_number if token is None else self._read_token(token, "before-")
            listing = store.listing
            numbers = listing.all if status is None else listing.numbers(status_group(status))
            end = bisect_left(numbers, before)
            page = numbers[max(0, end - limit) : end]
            return IdPage(
                ids=tuple(store.created[number].id for number in reversed(page)),
                next_token=f"before-{page[0]}" if end > limit else None,
            )

    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        with self._store.lock:
            found = self._store.instances.get(instance)
            return () if found is None else tuple(each.state for each in found.executions)

    async def list_execution_numbers(self, instance: str) -> Sequence[int]:
        with self._store.lock:
            found = self._store.instances.get(instance)
            return () if found is None else tuple(each.number for each in found.executions)

    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        with self._store.lock:
            found = self._find(instance, execution)
            return None if found is None else found.state

    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        with self._store.lock:
            found = self._find(instance, execution)
            if found is None:
                return HistoryPage(events=(), more=False)
            return page_of(instance, found, after)

    async def count_instances(self) -> StoreMetrics:
        with self._store.lock:
            store = self._store
            return StoreMetrics(
                total_instances=len(store.instances),
                total_executions=store.execution_count,
                running_instances=store.listing.count(status_group(InstanceStatus.RUNNING)),
                completed_instances=store.listing.count(status_group(InstanceStatus.COMPLETED)),
                failed_instances=store.listing.count(status_group(InstanceStatus.FAILED)),
                total_events=store.event_count,
            )

    async def count_queues(self) -> StoreQueueDepths:
        """Looks at every running instance, because what is visible depends on the time."""
        now = self._clock.now()
        visible = later = unleased = 0
        messages: list[Instant | None] = []
        activities: list[Instant | None] = []
        with self._store.lock:
            for number in self._store.listing.numbers(status_group(InstanceStatus.RUNNING)):
                instance = self._store.created[number]
                count = instance.mailbox.count_visible(now)
                later += len(instance.mailbox) - count
                visible += 0 if instance.is_leased(now) else count
                messages.append(instance.waiting_since(now))
                activities += (each.waiting_since(now) for each in instance.activities.values())
                unleased += sum(not each.is_leased(now) for each in instance.activities.values())
        return StoreQueueDepths(
            orchestrator_queue=visible,
            worker_queue=unleased,
            timer_queue=later,
            oldest_message=_earliest(messages),
            oldest_activity=_earliest(activities),
        )

    async def find_instances(
        self, query: InstanceQuery, *, limit: int, token: str | None = None
    ) -> InstancePage:
        """Looks at 1,000 instances at most, so a page may be short and have a token."""
        check_limit(limit)
        prefix = f"find-{query.digest()}-"
        with self._store.lock:
            before = self._store.next_number if token is None else self._read_token(token, prefix)
            found: list[tuple[int, InstanceState]] = []
            size, last = 0, None
            candidates = self._store.listing.candidates(query, before=before)
            for looked_at, number in enumerate(candidates):
                if looked_at == MOST_LOOKED_AT or len(found) == limit:
                    break
                state = self._store.created[number].state
                if query.accepts(state):
                    size += len(state.output or b"") + len(state.custom_status or b"")
                    if found and size > MAX_BYTES_PER_DELIVERY:
                        break
                    found.append((number, state))
                last = number
            else:
                last = None
            return InstancePage(
                instances=tuple(state for _, state in found),
                next_token=None if last is None else f"{prefix}{last}",
            )

    async def read_work(self, instance: str) -> InstanceWork | None:
        with self._store.lock:
            found = self._store.instances.get(instance)
            return None if found is None else _work_of(found, self._clock.now())

    def _read_token(self, token: str, prefix: str) -> int:
        number = token.removeprefix(prefix)
        is_ours = token.startswith(prefix) and _NUMBER.match(number) is not None
        if not is_ours or int(number) >= self._store.next_number:
            raise InvalidInput(
                f"page token {token!r} was not given by this provider for this listing; begin"
                " without a token"
            )
        return int(number)

    def _find(self, instance: str, execution: int) -> Execution | None:
        found = self._store.instances.get(instance)
        return None if found is None else found.find_execution(execution)


def _work_of(instance: Instance, now: Instant) -> InstanceWork:
    activities = tuple(islice(instance.activities.values(), MOST_SHOWN))
    messages = tuple(islice(instance.mailbox.in_order(), MOST_SHOWN))
    return InstanceWork(
        attempt=instance.count,
        leased_until=instance.leased_until,
        delayed_until=instance.delayed_until(now),
        activities=tuple(each.as_queued(now) for each in activities),
        messages=tuple(
            QueuedMessage(
                id=each.id, kind=each.kind, size=len(each.data), visible_at=each.visible_at
            )
            for each in messages
        ),
        more=len(activities) < len(instance.activities) or len(messages) < len(instance.mailbox),
    )


def _earliest(instants: Iterable[Instant | None]) -> Instant | None:
    return min((each for each in instants if each is not None), default=None)


def page_of(instance: str, execution: Execution, after: int) -> HistoryPage:
    """One page of events after a number; raises `StorageCorrupt` if one is missing."""
    begin = max(0, after)
    # One event beyond a full page says that there are more.
    chosen = execution.events[begin : begin + MAX_MESSAGES_PER_DELIVERY + 1]
    events = (
        StoredEvent(number=number, data=data)
        for number, data in enumerate(chosen, begin + 1)
        if data is not None
    )
    page, more = first_page(events, lambda event: len(event.data))
    return checked_page(
        instance, execution.number, page, after=begin, last=execution.event_count, more=more
    )
