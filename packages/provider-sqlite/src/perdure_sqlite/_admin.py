"""The management capability: reads only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import islice

from perdure.clock import Clock
from perdure.contract import (
    FARTHEST_END,
    MAX_BYTES_PER_DELIVERY,
    ExecutionState,
    HistoryPage,
    IdPage,
    InstancePage,
    InstanceQuery,
    InstanceState,
    InstanceStatus,
    InstanceWork,
    ProviderAdmin,
    StoreMetrics,
    StoreQueueDepths,
    check_limit,
)
from perdure.errors import InvalidInput

from perdure_sqlite._file.errors import DamagedRecord
from perdure_sqlite._reads.histories import History
from perdure_sqlite._reads.ranges import BEGIN, LookedAt, Place, Range, all_statuses, merged
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._reads.searches import LOOKS_PER_PAGE, LOOKS_PER_STEP, Search
from perdure_sqlite._reads.work import read_work
from perdure_sqlite._schema.ready_index import ALWAYS
from perdure_sqlite._sql.instances import RUNNING
from perdure_sqlite._sql.listings import BY_STATUS, CONTINUED
from perdure_sqlite._sql.management import (
    COUNT_ACTIVITIES,
    COUNT_INSTANCES,
    COUNT_MESSAGES,
    FIND_ENDED,
    FIND_EXECUTIONS,
    LIST_EXECUTIONS,
)
from perdure_sqlite._sql.rows import execution_of
from perdure_sqlite._waiting.damage_mark import DamageMark

_TOKEN = re.compile(r"after-(-?[0-9]{1,18})-([1-9][0-9]{0,17})\Z", re.ASCII)


class SQLiteAdmin(ProviderAdmin):
    """The management capability of a provider on a file."""

    def __init__(self, reader: Reader, clock: Clock, damage: DamageMark) -> None:
        self._reader = reader
        self._clock = clock
        self._damage = damage

    async def list_instances(
        self, *, status: InstanceStatus | None = None, limit: int, token: str | None = None
    ) -> IdPage:
        check_limit(limit)
        place = _read_token(token)

        def read(reader: Reader) -> list[LookedAt]:
            with (
                # An instance whose status changes between two ranges is in both of them, or in none.
                reader.snapshot(),
                closing(merged(reader, _ranges_of(reader, status), place)) as rows,
            ):
                return list(islice(rows, limit + 1))

        rows = await self._reader.run("list_instances", read)
        page, more = rows[:limit], len(rows) > limit
        return IdPage(
            ids=tuple(instance for _, _, instance, *_ in page),
            next_token=f"after-{page[-1][0]}-{page[-1][1]}" if more else None,
        )

    async def list_executions(self, instance: str) -> Sequence[ExecutionState]:
        return await self._reader.run(
            "list_executions", lambda reader: _executions(reader, instance, 1, ALWAYS)
        )

    async def list_execution_numbers(self, instance: str) -> Sequence[int]:
        def read(reader: Reader) -> Sequence[int]:
            with reader.snapshot():
                found = reader.execute(FIND_EXECUTIONS, (reader.namespace, instance)).fetchone()
                if found is None:
                    return ()
                number, status, current, _, _, first = found
                ended = [each for (each,) in reader.execute(FIND_ENDED, (number, first))]
            _check_ends(instance, ended, first, current - (status == RUNNING))
            return range(first, current + 1)

        return await self._reader.run("list_execution_numbers", read)

    async def read_execution(self, instance: str, execution: int) -> ExecutionState | None:
        found = await self._reader.run(
            "read_execution", lambda reader: _executions(reader, instance, execution, execution)
        )
        return found[0] if found else None

    async def read_events(self, instance: str, execution: int, *, after: int = 0) -> HistoryPage:
        def read(reader: Reader) -> HistoryPage:
            key = (reader.namespace, instance)
            with reader.snapshot():
                found = reader.execute(FIND_EXECUTIONS, key).fetchone()
                if found is None:
                    return HistoryPage(events=(), more=False)
                number, status, current, last_event, _, first = found
                if not first <= execution <= current:
                    return HistoryPage(events=(), more=False)
                history = History(instance, number, execution)
                if execution == current and status == RUNNING:
                    return history.page(reader, after, last=last_event)
                return history.ended_page(reader, after)

        return await self._reader.run("read_events", read)

    async def count_instances(self) -> StoreMetrics:
        key = (self._reader.namespace,)
        rows = await self._reader.scan("count_instances", COUNT_INSTANCES, key * 2)
        counts = {str(status): (_int(n), _int(x), _int(e)) for status, n, x, e in rows}
        running, completed, failed = (
            counts.get(status.value, (0, 0, 0))[0]
            for status in (InstanceStatus.RUNNING, InstanceStatus.COMPLETED, InstanceStatus.FAILED)
        )
        return StoreMetrics(
            total_instances=sum(count for count, _, _ in counts.values()),
            total_executions=sum(executions for _, executions, _ in counts.values()),
            running_instances=running,
            completed_instances=completed,
            failed_instances=failed,
            total_events=sum(events for _, _, events in counts.values()),
        )

    async def count_queues(self) -> StoreQueueDepths:
        namespace, now = self._reader.namespace, self._clock.now()
        live = (now, now + FARTHEST_END)
        messages = await self._reader.scan(
            "count_queues", COUNT_MESSAGES, (now, *live, now, now, *live, now, namespace)
        )
        activities = await self._reader.scan(
            "count_queues", COUNT_ACTIVITIES, (now, *live, now, namespace, *live)
        )
        waiting, later, oldest_message = messages[0]
        free, oldest_activity = activities[0]
        return StoreQueueDepths(
            orchestrator_queue=_int(waiting),
            worker_queue=_int(free),
            timer_queue=_int(later),
            oldest_message=None if oldest_message is None else _int(oldest_message),
            oldest_activity=None if oldest_activity is None else _int(oldest_activity),
        )

    async def find_instances(
        self, query: InstanceQuery, *, limit: int, token: str | None = None
    ) -> InstancePage:
        check_limit(limit)
        search = Search(query, shown=self._damage.with_mark, trusts_marks=not self._damage.is_set)
        if token is not None:
            search.continue_from(token)
        found: list[InstanceState] = []
        looks, room = LOOKS_PER_PAGE, MAX_BYTES_PER_DELIVERY
        more = True
        while more and looks > 0 and len(found) < limit:
            look = partial(
                search.look,
                wanted=limit - len(found),
                looks=min(looks, LOOKS_PER_STEP),
                room=room,
                needs_one=not found,
            )
            step = await self._reader.run("find_instances", look)
            found += step.found
            looks -= step.looks
            room -= step.size
            more = step.more
            if step.is_page_full:
                break
            await asyncio.sleep(0)
        return InstancePage(instances=tuple(found), next_token=search.token if more else None)

    async def read_work(self, instance: str) -> InstanceWork | None:
        return await self._reader.run(
            "read_work", lambda reader: read_work(reader, instance, self._clock.now())
        )


def _executions(reader: Reader, instance: str, first: int, last: int) -> tuple[ExecutionState, ...]:
    with reader.snapshot():
        found = reader.execute(FIND_EXECUTIONS, (reader.namespace, instance)).fetchone()
        if found is None:
            return ()
        number, status, execution, event_count, started_at, oldest = found
        first = max(first, oldest)
        ended = reader.execute(LIST_EXECUTIONS, (number, first, last)).fetchall()
    numbers = [columns[0] for columns in ended]
    _check_ends(instance, numbers, first, min(last, execution - (status == RUNNING)))
    states = [execution_of(columns, instance) for columns in ended]
    if status == RUNNING and first <= execution <= last:
        current = (execution, status, None, event_count, started_at, None)
        states.append(execution_of(current, instance))
    return tuple(states)


def _check_ends(instance: str, found: Sequence[int], first: int, last: int) -> None:
    """Raise if the end of one of these executions is lost, which would hide the execution."""
    for place, execution in enumerate(range(first, last + 1)):
        if place >= len(found) or found[place] != execution:
            raise DamagedRecord(instance, f"the end of execution {execution} is lost")


def _ranges_of(reader: Reader, status: InstanceStatus | None) -> list[Range]:
    if status is None:
        return all_statuses(reader)
    if status is InstanceStatus.CONTINUED_AS_NEW:
        return [Range(CONTINUED, ())]
    return [Range(BY_STATUS, (status.value,))]


def _read_token(token: str | None) -> Place:
    if token is None:
        return BEGIN
    match = _TOKEN.match(token)
    if match is None:
        raise InvalidInput(
            f"the page token {token!r} is not one of this provider; pass next_token on as it is"
        )
    return int(match[1]), int(match[2])


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a number is expected here, and the file has {value!r}")
    return value
