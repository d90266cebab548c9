"""The PostgreSQL provider: the methods of the contract over a database.

Each call is one statement: a function of the database, in a transaction of its own. Writes are
grouped. A call that was cancelled takes effect as a whole or not at all: it is withdrawn, or waited
for; leases that no caller received are given back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

from perdure.clock import Clock, SystemClock, to_microseconds
from perdure.contract import (
    DELETION,
    LISTING,
    RECOVERY,
    TRANSACTIONS,
    VALUES,
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    ActivityRequest,
    CancellationWait,
    ChangeWait,
    CommitAnswer,
    HistoryPage,
    InstanceReopening,
    InstanceState,
    InstanceTermination,
    InstanceValues,
    Instant,
    LeasedActivity,
    LeasedTurn,
    Message,
    NewInstance,
    OpenStorage,
    OpenTransaction,
    Provider,
    ProviderAdmin,
    TurnCommit,
    TurnLease,
    TurnRelease,
    TurnRequest,
    WorkWait,
    check_commit,
    check_delay,
    check_lease,
    check_limit,
    check_reopening,
    has_changed,
    to_its_end,
)
from perdure.errors import (
    ExecutionNotFound,
    InstanceNotFound,
    InstanceRunning,
    ProviderError,
    StorageCorrupt,
)

from perdure_postgres._admin import PostgresAdmin
from perdure_postgres._calls import as_json
from perdure_postgres._database import Database
from perdure_postgres._errors import RowsHeld
from perdure_postgres._looks import Looks
from perdure_postgres._opening import OpenDatabase, open_database
from perdure_postgres._options import PostgresOptions
from perdure_postgres._rows import state_of
from perdure_postgres._texts import stored, told
from perdure_postgres._transactions import DatabaseTransaction
from perdure_postgres._waits import ALWAYS, News
from perdure_postgres._writes.changes import (
    Change,
    Commit,
    Completion,
    Creation,
    Reopening,
    Sending,
    Termination,
)

Result = TypeVar("Result")

_MESSAGES_PER_WRITE: Final = 500
_EVENTS_PER_DELETION: Final = 1000
_INSTANCES_PER_REMOVAL: Final = 200


class PostgresProvider(Provider):
    """A provider on a PostgreSQL database; `async with` opens and closes it."""

    capabilities = frozenset({DELETION, LISTING, RECOVERY, TRANSACTIONS, VALUES})
    finish_limit = 1000
    tells_of_work = True
    tells_of_changes = True
    tells_of_cancellations = True

    def __init__(self, options: PostgresOptions, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock or SystemClock(), description=options.description)
        self._options = options
        self._storage: OpenStorage[OpenDatabase] = OpenStorage(options.description)
        self._looks = Looks(self.clock, relaxed=options.durability == "normal")

    async def __aenter__(self) -> Self:
        """Open the database; raises a `ProviderError` that says what to do if this fails."""
        await self._storage.open(lambda: open_database(self._options, self.clock))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the writes that were accepted, make waiting calls fail, and disconnect."""
        await self._storage.close()

    async def create_instance(self, new: NewInstance) -> None:
        await self._write(Creation(new))
        if new.replaces is not None:
            await self._opened("create_instance").leftovers.remove()

    async def send(self, messages: Sequence[Message]) -> None:
        each = tuple(messages)
        for begin in range(0, len(each), _MESSAGES_PER_WRITE):
            await self._write(Sending(each[begin : begin + _MESSAGES_PER_WRITE]))

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        check_limit(request.limit)
        check_lease("lease_for", request.lease_for)
        return await to_its_end(
            self._looks.lease_turns(self._opened("lease_turns"), request),
            unheard=self._return_turns,
        )

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        opened = self._opened("read_history")
        calls = opened.calls
        found = await calls.read_history("read_history", instance, execution, after)
        if found is None or told(found.incarnation) != incarnation:
            raise InstanceNotFound(instance)
        if not found.first <= execution <= found.current:
            raise ExecutionNotFound(instance, execution)
        with calls.translating("read_history"):
            page = found.page(instance, execution, after)
        if found.packed is None:
            events = [event.data for event in page.events]
            opened.histories.learn(instance, incarnation, execution, after, events)
        return page

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        check_commit(commit, finish_limit=self.finish_limit)
        if commit.activity_token is not None:
            self._looks.note_activities(commit.activity_token)
        return await self._write(Commit(commit))

    async def release_turn(self, release: TurnRelease) -> None:
        check_delay(release.delay)
        now = self.clock.now()
        lease, parked = release.lease, release.parked
        given = {
            "instance": stored(lease.instance),
            "token": stored(lease.token),
            "delay": now + to_microseconds(release.delay) if release.delay else None,
            "counted": release.counted,
            "reason": None if parked is None else stored(parked.reason),
            "details": None if parked is None else stored(parked.details),
        }
        await self._change(
            "release_turn", "release_turns", now, as_json([given]), instance=lease.instance
        )
        self._tell(
            News(
                turns=True,
                instances=(lease.instance,) if parked else (),
                turning=(lease.instance,) if parked else (),
            )
        )

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        check_lease("lease_for", lease_for)
        each = tuple(leases)
        given = [
            {"o": place, "instance": stored(lease.instance), "token": stored(lease.token)}
            for place, lease in enumerate(each)
        ]
        gone = await self._renew("renew_turns", each, given, lease_for)
        return frozenset(each[place] for place in gone)

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        check_limit(request.limit)
        check_lease("lease_for", request.lease_for)
        return await to_its_end(
            self._looks.lease_activities(self._opened("lease_activities"), request),
            unheard=self._return_activities,
        )

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._write(Completion(completion))

    async def begin_transaction(self, *, blocking: bool) -> OpenTransaction:
        return await self._opened("begin_transaction").transactions.begin(blocking=blocking)

    async def complete_in_transaction(
        self, transaction: OpenTransaction, completion: ActivityCompletion
    ) -> None:
        opened = self._opened("complete_in_transaction")
        await opened.transactions.complete(_own(transaction), completion)

    async def roll_back(self, transaction: OpenTransaction, *, in_use: bool = False) -> None:
        await self._opened("roll_back").transactions.roll_back(_own(transaction), in_use=in_use)

    async def release_activity(self, release: ActivityRelease) -> None:
        check_delay(release.delay)
        now = self.clock.now()
        lease, parked = release.lease, release.parked
        given = {
            "instance": stored(lease.instance),
            "id": stored(lease.activity),
            "token": stored(lease.token),
            "delay": now + to_microseconds(release.delay) if release.delay else None,
            "counted": release.counted,
            "reason": None if parked is None else stored(parked.reason),
            "details": None if parked is None else stored(parked.details),
        }
        await self._change(
            "release_activity", "release_activities", now, as_json([given]), instance=lease.instance
        )
        self._tell(
            News(
                activities=True,
                instances=(lease.instance,),
                turning=(lease.instance,) if parked else (),
            )
        )

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        check_lease("lease_for", lease_for)
        each = tuple(leases)
        gone = await self._renew("renew_activities", each, _named(each), lease_for)
        return frozenset(each[place] for place in gone)

    async def read_instance(self, instance: str) -> InstanceState | None:
        opened = self._opened("read_instance")
        found = opened.waits.begin_read(instance) if opened.signals.hears else []
        state = await self._read_state(opened, "read_instance", instance)
        found.append(state)
        return state

    async def reopen_instance(self, reopening: InstanceReopening) -> None:
        check_reopening(reopening)
        await self._write(Reopening(reopening))

    async def terminate_instance(self, termination: InstanceTermination) -> bool:
        return await self._write(Termination(termination))

    async def delete_instance(self, instance: str, *, incarnation: str) -> bool:
        opened = self._opened("delete_instance")
        item = {
            "instance": stored(instance),
            "incarnation": stored(incarnation),
            "hurried": True,
        }
        ask = partial(opened.deletions.ask, "delete_instance", instance, item)
        [answer] = await opened.held.carry_out(lambda: (instance,), ask)
        if answer == "running":
            raise InstanceRunning(instance)
        self._tell(News(instances=(instance,), turning=(instance,)))
        await opened.leftovers.remove()
        return answer == "deleted"

    async def prune_executions(self, instance: str, *, incarnation: str, before: int) -> int:
        [(count,)] = await self._change(
            "prune_executions",
            "prune_executions",
            stored(instance),
            stored(incarnation),
            max(-(2**31), min(before, 2**31 - 1)),
            instance=instance,
        )
        if count is None:
            raise InstanceNotFound(instance)
        await self._opened("prune_executions").leftovers.remove()
        return cast("int", count)

    async def delete_early_events(
        self, instance: str | None, *, arrived_before: Instant | None = None, limit: int
    ) -> int:
        check_limit(limit)
        deleted = 0
        while deleted < limit:
            part = min(limit - deleted, _EVENTS_PER_DELETION)
            [(count,)] = await self._change(
                "delete_early_events",
                "delete_early_events",
                stored(instance),
                arrived_before,
                part,
                instance=instance,
            )
            deleted += count
            if count < part:
                break
        return deleted

    async def delete_namespace(self) -> None:
        more = True
        while more:
            [(more,)] = await self._change(
                "delete_namespace", "delete_part_of_namespace", _INSTANCES_PER_REMOVAL
            )
        self._tell(News(everything=True))
        await self._opened("delete_namespace").leftovers.remove()

    async def read_values(
        self, instance: str, *, keys: frozenset[str] | None = None
    ) -> InstanceValues | None:
        calls = self._opened("read_values").calls
        wanted = None if keys is None else as_json([stored(key) for key in keys])
        rows = await calls.read("read_values", "read_values", stored(instance), wanted)
        if not rows:
            return None
        incarnation, last_commit = rows[0][1]
        return InstanceValues(
            incarnation=told(incarnation),
            last_commit=told(last_commit),
            values={told(key): data for key, _, data in rows[1:]},
        )

    async def wait_for_work(self, wait: WorkWait) -> None:
        opened = self._opened("wait_for_work")
        opened.signals.listen()
        with opened.waits.for_work(
            turns=wait.serves is not None, activities=bool(wait.activity_names)
        ) as waiter:
            await opened.waits.wait(waiter, wait.timeout, self._looks.look_of(opened, wait))

    async def wait_for_change(self, wait: ChangeWait) -> InstanceState | None:
        opened = self._opened("wait_for_change")
        opened.signals.listen()
        found: InstanceState | None = None
        memory = opened.waits.ends if wait.until_ended else opened.waits.states

        async def look() -> Instant:
            nonlocal found
            for state in memory.take(wait.instance):
                return 0 if has_changed(wait, state) else ALWAYS
            try:
                state = await self._read_state(opened, "wait_for_change", wait.instance)
            except StorageCorrupt:
                # A read of the caller says so.
                return 0
            if not has_changed(wait, state):
                return ALWAYS
            found = state
            return 0

        with opened.waits.for_changes((wait.instance,), turning=wait.until_ended) as waiter:
            await opened.waits.wait(waiter, wait.timeout, look)
        return found if waiter.state is None else waiter.state

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        opened = self._opened("wait_for_cancellation")
        opened.signals.listen()
        gone: frozenset[ActivityLease] = frozenset()

        async def look() -> Instant:
            nonlocal gone
            rows = await opened.calls.read(
                "wait_for_cancellation", "find_gone_activities", as_json(_named(wait.leases))
            )
            places = cast("list[int]", rows[0][0] or [])
            gone = frozenset(wait.leases[place] for place in places)
            return 0 if gone else ALWAYS

        instances = (lease.instance for lease in wait.leases)
        with opened.waits.for_changes(instances) as waiter:
            await opened.waits.wait(waiter, wait.timeout, look)
        if not gone:
            await look()
        return gone

    def as_management_capability(self) -> ProviderAdmin:
        opened = self._opened("as_management_capability")
        return PostgresAdmin(opened.calls, self.clock, opened.statements)

    @property
    def database(self) -> Database:
        """The connections, for tests that make a statement fail."""
        return self._opened("database").database

    def _opened(self, operation: str) -> OpenDatabase:
        return self._storage.get(operation)

    async def _read_state(
        self, opened: OpenDatabase, operation: str, instance: str
    ) -> InstanceState | None:
        row = await opened.states.ask(operation, instance, {"instance": stored(instance)})
        with opened.calls.translating(operation):
            return None if row is None else state_of(*row)

    async def _write(self, change: Change[Result]) -> Result:
        return await self._opened(change.operation).writer.write(change)

    async def _change(
        self, operation: str, function: str, *arguments: object, instance: str | None = None
    ) -> list[Any]:
        """Call a function that changes something; a cancelled caller waits for its end."""
        opened = self._opened(operation)
        repeatable = function.startswith("release")

        def call() -> Awaitable[list[Any]]:
            made = opened.calls.call(operation, function, *arguments, repeatable=repeatable)
            return to_its_end(made)

        touched = () if instance is None else (instance,)
        return await opened.held.carry_out(lambda: touched, call)

    async def _renew(
        self,
        operation: str,
        leases: Sequence[TurnLease] | Sequence[ActivityLease],
        given: Sequence[Mapping[str, object]],
        lease_for: timedelta,
    ) -> Sequence[int]:
        """Extend leases; returns the places of those that are gone.

        Where a transaction elsewhere holds the row of an instance, its leases are extended once it is
        free, and the others at once: they would end meanwhile.
        """
        opened = self._opened(operation)
        until = self.clock.now() + to_microseconds(lease_for)

        async def renew(part: Sequence[Mapping[str, object]]) -> Sequence[int]:
            [(gone,)] = await to_its_end(
                opened.calls.call(operation, operation, until, as_json(part), repeatable=True)
            )
            return gone or ()

        try:
            return await renew(given)
        except RowsHeld:
            held = await opened.held.look({lease.instance for lease in leases})
        by_instance: dict[str, list[Mapping[str, object]]] = {}
        for lease, each in zip(leases, given, strict=True):
            by_instance.setdefault(lease.instance, []).append(each)
        for instance in held:
            opened.held.later(instance, partial(renew, by_instance.pop(instance)))
        return await renew([each for part in by_instance.values() for each in part])

    async def _return_turns(self, leased: Sequence[LeasedTurn]) -> None:
        # What cannot be given back is free when its lease ends.
        with suppress(ProviderError):
            for turn in leased:
                lease = TurnLease(instance=turn.state.instance, token=turn.token)
                await self.release_turn(TurnRelease(lease=lease, counted=False))

    async def _return_activities(self, leased: Sequence[LeasedActivity]) -> None:
        with suppress(ProviderError):
            for activity in leased:
                await self.release_activity(ActivityRelease(lease=activity.lease, counted=False))

    def _tell(self, news: News) -> None:
        opened = self._storage.if_open
        if opened is not None:
            opened.tell(news)


def _named(leases: Sequence[ActivityLease]) -> list[dict[str, object]]:
    return [
        {
            "o": place,
            "instance": stored(lease.instance),
            "id": stored(lease.activity),
            "token": stored(lease.token),
        }
        for place, lease in enumerate(leases)
    ]


def _own(transaction: OpenTransaction) -> DatabaseTransaction:
    if not isinstance(transaction, DatabaseTransaction):
        raise TypeError(f"{transaction!r} is not a transaction of this provider")
    return transaction
