"""The management and listing capabilities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from perdure.clock import Clock
from perdure.contract import (
    FARTHEST_END,
    MAX_MESSAGES_PER_DELIVERY,
    ExecutionState,
    HistoryPage,
    IdPage,
    InstancePage,
    InstanceQuery,
    InstanceState,
    InstanceStatus,
    InstanceWork,
    MessageKind,
    ProviderAdmin,
    QueuedActivity,
    QueuedMessage,
    StoreMetrics,
    StoreQueueDepths,
    check_limit,
    is_in_force,
)
from perdure.errors import InvalidInput

from perdure_postgres._calls import Calls
from perdure_postgres._errors import DamagedRecord
from perdure_postgres._rows import state_of
from perdure_postgres._statements import BEGIN, Place, Statements
from perdure_postgres._texts import stored, told

_TOKEN: Final = re.compile(r"([0-9a-z]+)-(-?[0-9]{1,18})-([1-9][0-9]{0,17})\Z", re.ASCII)
_LISTING: Final = "after"
_LOOKS: Final = 1000
_LOOKS_PER_PAGE: Final = 5000
"""How many instances a page looks at, before it comes back short."""


class PostgresAdmin(ProviderAdmin):
    """The management capability of a provider on PostgreSQL."""

    def __init__(self, calls: Calls, clock: Clock, statements: Statements) -> None:
        self._calls = calls
        self._clock = clock
        self._statements = statements

    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        check_limit(limit)
        place = _read_token(token, _LISTING)
        text = None if status is None else status.value
        rows = await self._calls.run(
            "list_instances", self._statements.list_ids(text, place, limit + 1)
        )
        page = rows[:limit]
        more = len(rows) > limit and bool(page)
        return IdPage(
            ids=tuple(told(instance) for _, _, instance in page),
            next_token=f"{_LISTING}-{page[-1][0]}-{page[-1][1]}" if more else None,
        )

    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        return await self._executions("list_executions", instance, None)

    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        found = await self._executions("read_execution", instance, execution)
        return found[0] if found else None

    async def _executions(
        self, operation: str, instance: str, execution: int | None
    ) -> tuple[ExecutionState, ...]:
        rows = await self._calls.read(operation, "read_executions", stored(instance), execution)
        with self._calls.translating(operation):
            if execution is None and rows:
                _check_executions(instance, rows)
            return tuple(
                ExecutionState(
                    execution=number,
                    status=_execution_status(instance, status),
                    output=output,
                    event_count=event_count,
                    started_at=started_at,
                    completed_at=completed_at,
                )
                for number, status, event_count, started_at, completed_at, output, *_ in rows
            )

    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        found = await self._calls.read_history("read_events", instance, execution, after)
        if found is None or not found.first <= execution <= found.current:
            return HistoryPage(events=(), more=False)
        with self._calls.translating("read_events"):
            return found.page(instance, execution, after)

    async def count_instances(self) -> StoreMetrics:
        rows = await self._calls.run("count_instances", self._statements.count_instances())
        counts = {str(status): tuple(map(int, numbers)) for status, *numbers in rows}
        running, completed, failed = (
            counts.get(status.value, (0,))[0]
            for status in (InstanceStatus.RUNNING, InstanceStatus.COMPLETED, InstanceStatus.FAILED)
        )
        return StoreMetrics(
            total_instances=sum(each[0] for each in counts.values()),
            total_executions=sum(each[1] for each in counts.values()),
            running_instances=running,
            completed_instances=completed,
            failed_instances=failed,
            total_events=sum(each[2] + each[3] for each in counts.values()),
        )

    async def count_queues(self) -> StoreQueueDepths:
        now = self._clock.now()
        [(waiting, activities, later, oldest_message, oldest_activity)] = await self._calls.run(
            "count_queues", self._statements.count_queues(now, now + FARTHEST_END)
        )
        return StoreQueueDepths(
            orchestrator_queue=waiting,
            worker_queue=activities,
            timer_queue=later,
            oldest_message=oldest_message,
            oldest_activity=oldest_activity,
        )

    async def find_instances(
        self, query: InstanceQuery, *, limit: int, token: str | None = None
    ) -> InstancePage:
        check_limit(limit)
        place = _read_token(token, query.digest())
        found: list[InstanceState] = []
        looked, more = 0, True
        while more and len(found) < limit and looked < _LOOKS_PER_PAGE:
            count = _LOOKS if looked else max(limit - len(found), 100)
            rows = await self._calls.run(
                "find_instances", self._statements.find(query, place, count)
            )
            looked += len(rows)
            # Whether others follow: a look that finds fewer than it asks for has seen the last.
            more = len(rows) == count
            candidates = [row for row in rows if row[2]][: limit - len(found)]
            states = await self._states([number for _, number, _ in candidates], found)
            for created_at, number, _ in candidates:
                if number not in states:
                    continue
                state = states[number]
                if state is None:
                    return InstancePage(
                        instances=tuple(found), next_token=_token(query.digest(), place)
                    )
                if query.accepts(state):
                    found.append(state)
                place = created_at, number
            if len(found) == limit and candidates:
                last = candidates[-1][:2]
                more = more or rows[-1][:2] != last
                place = last
            elif rows:
                place = rows[-1][:2]
        return InstancePage(
            instances=tuple(found), next_token=_token(query.digest(), place) if more else None
        )

    async def _states(
        self, numbers: list[int], before: Sequence[InstanceState]
    ) -> dict[int, InstanceState | None]:
        """The states of these instances; None for those that don't fit into the page any more."""
        if not numbers:
            return {}
        states: dict[int, InstanceState | None] = {}
        size = sum(map(_size_of, before))
        left = list(numbers)
        while left:
            rows = await self._calls.read_plain("find_instances", "read_states", left)
            with self._calls.translating("find_instances"):
                for number, fields, custom_status, output in rows:
                    state = state_of(fields, custom_status, output)
                    size += _size_of(state)
                    is_first = not before and not states
                    states[number] = state if is_first or size <= 4 * 1024 * 1024 else None
                    if states[number] is None:
                        return states
            read = {number for number, *_ in rows}
            if not read:
                break
            last = max(left.index(number) for number in read)
            left = left[last + 1 :]
        return states

    async def read_work(self, instance: str) -> InstanceWork | None:
        now = self._clock.now()
        rows = await self._calls.read("read_work", "read_work", stored(instance))
        if not rows:
            return None
        [(status, attempt, is_leased, held_until)] = [each for part, each, _ in rows if part == 0]
        activities = [(each, data) for part, each, data in rows if part == 1]
        messages = [each for part, each, _ in rows if part == 2]
        limit = MAX_MESSAGES_PER_DELIVERY
        is_delayed = (
            not is_leased and status == InstanceStatus.RUNNING and is_in_force(held_until, now)
        )
        more = any(part == 3 for part, _, _ in rows)
        return InstanceWork(
            attempt=attempt,
            leased_until=held_until if is_leased else None,
            delayed_until=held_until if is_delayed else None,
            activities=tuple(_activity(each, data, now) for each, data in activities[:limit]),
            messages=tuple(
                QueuedMessage(id=told(name), kind=MessageKind(kind), size=size, visible_at=visible)
                for name, kind, size, visible in messages[:limit]
            ),
            more=more or max(len(activities), len(messages)) > limit,
        )


def _activity(fields: list[Any], data: bytes, now: int) -> QueuedActivity:
    activity_id, name, tag, added_at, delivery, visible_at, is_leased, held_until = fields
    if not is_leased and is_in_force(held_until, now):
        # A delay hides it, whatever it was visible from.
        visible_at = max(held_until, visible_at or held_until)
    return QueuedActivity(
        id=told(activity_id),
        name=told(name),
        tag=told(tag[1:]) if tag else None,
        data=data,
        added_at=added_at,
        delivery=delivery,
        visible_at=visible_at,
        leased_until=held_until if is_leased else None,
    )


def _check_executions(instance: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Raise if the end of an execution is lost, which would hide the execution."""
    *_, first, current = rows[0]
    if [row[0] for row in rows] != list(range(first, current + 1)):
        raise DamagedRecord(instance, "the end of an execution is lost")


def _execution_status(instance: str, text: str) -> InstanceStatus:
    try:
        return InstanceStatus(text)
    except ValueError:
        raise DamagedRecord(instance, f"the status of an execution is {text!r}") from None


def _size_of(state: InstanceState) -> int:
    return len(state.output or b"") + len(state.custom_status or b"")


def _token(kind: str, place: Place) -> str:
    return f"{kind}-{place[0]}-{place[1]}"


def _read_token(token: str | None, kind: str) -> Place:
    if token is None:
        return BEGIN
    match = _TOKEN.match(token)
    if match is None or match[1] != kind:
        raise InvalidInput(
            f"the page token {token!r} is not one of this listing; pass next_token on as it is, with"
            " the query that it was given for"
        )
    return int(match[2]), int(match[3])
