"""The SQLite provider: the methods of the contract over a file.

The writer groups writes; reads have a connection of their own. An object belongs to the event loop
and the process that opened it. It refuses calls after a fork, where two processes would share the
state of a connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from perdure.clock import Clock, SystemClock
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
)
from perdure.errors import (
    ExecutionNotFound,
    InstanceNotFound,
    ProviderError,
    StorageClosed,
)

from perdure_sqlite._open_file import OpenFile, open_file
from perdure_sqlite._operations import activities, deletion, instances, recovery, turns
from perdure_sqlite._operations.commits import commit_turn
from perdure_sqlite._operations.removals import continue_removals
from perdure_sqlite._options import SQLiteOptions
from perdure_sqlite._reads.histories import History
from perdure_sqlite._reads.reader import Reader
from perdure_sqlite._reads.values import read_values
from perdure_sqlite._sql.deletions import NEXT_REMOVAL
from perdure_sqlite._sql.instances import FIND_INSTANCE, READ_INSTANCE, RUNNING
from perdure_sqlite._sql.rows import InstanceRow, state_of
from perdure_sqlite._transactions import FileTransaction
from perdure_sqlite._writes.transaction import Transaction
from perdure_sqlite._writes.writer import Steps

Result = TypeVar("Result")

_LOGGER = logging.getLogger("perdure.sqlite")
_MESSAGES_PER_STEP = 500


class SQLiteProvider(Provider):
    """A provider on an SQLite file; `async with` opens and closes it.

    Cancelling a call withdraws it, or waits until the file no longer changes on its behalf.
    """

    capabilities = frozenset({DELETION, LISTING, RECOVERY, TRANSACTIONS, VALUES})
    finish_limit = 1000
    tells_of_work = True
    tells_of_changes = True
    tells_of_cancellations = True

    def __init__(self, options: SQLiteOptions, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock or SystemClock(), description=options.description)
        self._options = options
        self._storage: OpenStorage[OpenFile] = OpenStorage(repr(str(options.file)))

    async def __aenter__(self) -> Self:
        """Open the file; raises a `ProviderError` that names the file if this fails."""
        await self._storage.open(lambda: open_file(self._options, self.clock))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish the writes that were accepted, make waiting calls fail, and close the file."""
        await self._storage.close()

    async def create_instance(self, new: NewInstance) -> None:
        await self._write("create_instance", lambda at: instances.create_instance(at, new))
        if new.replaces is not None:
            await self._remove_leftovers("create_instance")

    async def send(self, messages: Sequence[Message]) -> None:
        each = tuple(messages)
        # In parts, so that many messages do not block the event loop.
        for begin in range(0, len(each), _MESSAGES_PER_STEP):
            part = each[begin : begin + _MESSAGES_PER_STEP]
            await self._write("send", partial(instances.send, messages=part))

    async def lease_turns(self, request: TurnRequest) -> Sequence[LeasedTurn]:
        check_lease("lease_for", request.lease_for)
        check_limit(request.limit)
        with self._opened("lease_turns").notifications.damage.watching("lease_turns"):
            if not await self._read(
                "lease_turns", lambda at: turns.has_turns(at, request, self.clock.now())
            ):
                return ()
            return await self._write(
                "lease_turns",
                lambda at: turns.lease_turns(at, request),
                volatile=True,
                undo=self._return_turns,
            )

    async def read_history(
        self, instance: str, execution: int, *, incarnation: str, after: int = 0
    ) -> HistoryPage:
        def read(reader: Reader) -> HistoryPage:
            # A history that is deleted meanwhile must not look like one that has lost events.
            with reader.snapshot():
                found = reader.execute(FIND_INSTANCE, (reader.namespace, instance)).fetchone()
                row = None if found is None else InstanceRow(*found)
                if row is None or row.incarnation != incarnation:
                    raise InstanceNotFound(instance)
                if not row.first_execution <= execution <= row.execution:
                    raise ExecutionNotFound(instance, execution)
                history = History(instance, row.number, execution)
                if execution == row.execution and row.status == RUNNING:
                    return history.page(reader, after, last=row.last_event)
                return history.ended_page(reader, after)

        return await self._read("read_history", read)

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        check_commit(commit, finish_limit=self.finish_limit)
        return await self._write("commit_turn", lambda at: commit_turn(at, commit))

    async def release_turn(self, release: TurnRelease) -> None:
        check_delay(release.delay)
        await self._write(
            "release_turn",
            lambda at: turns.release_turn(at, release),
            volatile=release.parked is None,
        )

    async def renew_turns(
        self, leases: Sequence[TurnLease], *, lease_for: timedelta
    ) -> frozenset[TurnLease]:
        check_lease("lease_for", lease_for)
        each = tuple(leases)
        return await self._write(
            "renew_turns", lambda at: turns.renew_turns(at, each, lease_for), volatile=True
        )

    async def lease_activities(self, request: ActivityRequest) -> Sequence[LeasedActivity]:
        check_lease("lease_for", request.lease_for)
        check_limit(request.limit)
        with self._opened("lease_activities").notifications.damage.watching("lease_activities"):
            if not await self._read(
                "lease_activities",
                lambda at: activities.has_activities(at, request, self.clock.now()),
            ):
                return ()
            return await self._write(
                "lease_activities",
                lambda at: activities.lease_activities(at, request),
                volatile=True,
                undo=self._return_activities,
            )

    async def complete_activity(self, completion: ActivityCompletion) -> None:
        await self._write(
            "complete_activity", lambda at: activities.complete_activity(at, completion)
        )

    async def begin_transaction(self, *, blocking: bool) -> OpenTransaction:
        return await self._opened("begin_transaction").transactions.begin()

    async def complete_in_transaction(
        self, transaction: OpenTransaction, completion: ActivityCompletion
    ) -> None:
        opened = self._opened("complete_in_transaction")
        await opened.transactions.complete(_own(transaction), completion)

    async def roll_back(self, transaction: OpenTransaction, *, in_use: bool = False) -> None:
        await self._opened("roll_back").transactions.roll_back(_own(transaction), in_use=in_use)

    async def release_activity(self, release: ActivityRelease) -> None:
        check_delay(release.delay)
        await self._write(
            "release_activity",
            lambda at: activities.release_activity(at, release),
            volatile=release.parked is None,
        )

    async def renew_activities(
        self, leases: Sequence[ActivityLease], *, lease_for: timedelta
    ) -> frozenset[ActivityLease]:
        check_lease("lease_for", lease_for)
        each = tuple(leases)
        return await self._write(
            "renew_activities",
            lambda at: activities.renew_activities(at, each, lease_for),
            volatile=True,
        )

    async def read_instance(self, instance: str) -> InstanceState | None:
        damage = self._opened("read_instance").notifications.damage

        def read(reader: Reader) -> InstanceState | None:
            found = reader.execute(READ_INSTANCE, (reader.namespace, instance)).fetchone()
            return None if found is None else damage.with_mark(state_of(found))

        return await self._read("read_instance", read)

    async def reopen_instance(self, reopening: InstanceReopening) -> None:
        check_reopening(reopening)
        await self._write("reopen_instance", lambda at: recovery.reopen_instance(at, reopening))

    async def terminate_instance(self, termination: InstanceTermination) -> bool:
        return await self._write(
            "terminate_instance", lambda at: recovery.terminate_instance(at, termination)
        )

    async def delete_instance(self, instance: str, *, incarnation: str) -> bool:
        deleted = await self._write(
            "delete_instance", lambda at: deletion.delete_instance(at, instance, incarnation)
        )
        await self._remove_leftovers("delete_instance")
        return deleted

    async def prune_executions(self, instance: str, *, incarnation: str, before: int) -> int:
        count = await self._write(
            "prune_executions",
            lambda at: deletion.prune_executions(at, instance, incarnation, before),
        )
        await self._remove_leftovers("prune_executions")
        return count

    async def delete_early_events(
        self, instance: str | None, *, arrived_before: Instant | None = None, limit: int
    ) -> int:
        check_limit(limit)
        deleted, more = 0, True
        while more and deleted < limit:
            count, more = await self._write(
                "delete_early_events",
                partial(
                    deletion.delete_early_events,
                    instance=instance,
                    arrived_before=arrived_before,
                    limit=limit - deleted,
                ),
            )
            deleted += count
        return deleted

    async def delete_namespace(self) -> None:
        while await self._write("delete_namespace", deletion.delete_part_of_namespace):
            pass
        await self._remove_leftovers("delete_namespace")

    async def read_values(
        self, instance: str, *, keys: frozenset[str] | None = None
    ) -> InstanceValues | None:
        return await self._read("read_values", lambda reader: read_values(reader, instance, keys))

    async def wait_for_work(self, wait: WorkWait) -> None:
        await self._opened("wait_for_work").notifications.wait_for_work(wait)

    async def wait_for_change(self, wait: ChangeWait) -> InstanceState | None:
        return await self._opened("wait_for_change").notifications.wait_for_change(wait)

    async def wait_for_cancellation(self, wait: CancellationWait) -> frozenset[ActivityLease]:
        opened = self._opened("wait_for_cancellation")
        return await opened.notifications.wait_for_cancellation(wait)

    def as_management_capability(self) -> ProviderAdmin:
        return self._opened("as_management_capability").admin

    @property
    def opened(self) -> OpenFile:
        """All that is open, for tests that make its statements fail."""
        return self._opened("session")

    @property
    def transaction(self) -> Transaction:
        """The writer's transaction, for the same tests."""
        return self.opened.transaction

    def _opened(self, operation: str) -> OpenFile:
        opened = self._storage.get(operation)
        opened.reader.check_file(operation)
        return opened

    async def _read(self, name: str, read: Callable[[Reader], Result]) -> Result:
        opened = self._opened(name)
        # A caller that only reads must not keep other tasks from running.
        await asyncio.sleep(0)
        return await opened.reader.run(name, read)

    async def _write(
        self,
        name: str,
        run: Callable[[Transaction], Result | Steps[Result]],
        *,
        volatile: bool = False,
        undo: Callable[[Result], None] | None = None,
    ) -> Result:
        writer = self._opened(name).writer
        return await writer.submit(name, run, volatile=volatile, undo=undo).wait()

    async def _remove_leftovers(self, name: str) -> None:
        """Remove what this deletion, and those of crashed processes, have left to remove.

        The deletion has taken effect, so a failure leaves the rest to the next one.
        """
        try:
            while await self._read(
                name, lambda at: at.execute(NEXT_REMOVAL, (1,)).fetchone() is not None
            ):
                await self._write(name, continue_removals, volatile=True)
        except ProviderError as error:
            _LOGGER.warning("the next deletion removes what is left of this one: %s", error)

    def _return_turns(self, leased: Sequence[LeasedTurn]) -> None:
        leases = [TurnLease(instance=turn.state.instance, token=turn.token) for turn in leased]
        self._submit_undo("release_turn", lambda at: turns.release_turns(at, leases))

    def _return_activities(self, leased: Sequence[LeasedActivity]) -> None:
        leases = [activity.lease for activity in leased]
        self._submit_undo("release_activity", lambda at: activities.release_activities(at, leases))

    def _submit_undo(self, name: str, run: Callable[[Transaction], None]) -> None:
        opened = self._storage.if_open
        if opened is not None and opened.database.identity.replaced is None:
            # Leases that cannot be returned, because the provider closes or the write fails, expire.
            with suppress(StorageClosed):
                opened.writer.submit(name, run, volatile=True).ignore()


def _own(transaction: OpenTransaction) -> FileTransaction:
    if not isinstance(transaction, FileTransaction):
        raise TypeError(f"{transaction!r} is not a transaction of this provider")
    return transaction
