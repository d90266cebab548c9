"""Group commit: all writes that wait share one transaction and one fsync.

The event loop runs the writes of a group, one synchronous step after another. The worker thread
runs the COMMIT, because its fsync takes long; meanwhile the next group gathers. A thread that also
ran the statements would release the interpreter lock at each of them and wait to get it back from a
busy loop. That was measured to halve the throughput of a loaded process, and gains nothing in an
idle one.

The file is locked until the COMMIT is over, so the event loop lets go of the interpreter lock until the
thread has begun it. Otherwise all other callbacks that are ready come first, and keep other processes
from writing meanwhile.

A write that takes long, such as the commit of a fan-out of thousands, is a generator: it is carried
out in slices, and the event loop does its other work in between. The transaction stays open, and the
group goes on where it stopped; no other group begins before it has ended.

Writes of a group do not affect each other (COMMIT-26): a write refuses before it changes anything,
so a refusal leaves no trace. After any other error the whole group is rolled back, and each write
runs again in a transaction of its own.

A caller gets its answer only after the COMMIT, and only if the file was not replaced by then, since
a commit to a replaced file is lost. A group of volatile writes (leases, which a power loss may
remove together with their holders) commits in the event loop, without fsync.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import GeneratorType
from typing import Generic, TypeAlias, TypeVar, cast

from perdure.contract import CallGroups, Group, GroupedCall
from perdure.errors import PerdureError, ProviderError

from perdure_sqlite._file.disk_space import DiskSpace
from perdure_sqlite._file.errors import is_busy, is_full, provider_error
from perdure_sqlite._file.identity import FileIdentity, FileReplaced, replaced_error
from perdure_sqlite._worker_thread import WorkerThread
from perdure_sqlite._writes.transaction import Transaction

Result = TypeVar("Result")
Steps: TypeAlias = Generator[None, None, Result]
"""The steps of a write, which returns its answer at the end. It refuses before the first one ends."""

_LARGEST_GROUP = 200
_LONGEST_GROUP = 0.01
"""Seconds for which a group may block the event loop."""
_SLICE = 0.003
"""Seconds for which a write that takes long may block the event loop at a time."""
_QUICK_GROUPS = 200
"""After this many commits in the loop, one runs in the thread, which also checkpoints."""
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0005, 0.02
_PAUSE_SHARE = 0.05
"""How long a pause is, of the time for which the file has been locked already.

Another process that has work enough locks the file again a moment after it has let go, so one that
came back rarely would hardly ever find it free.
"""


@dataclass(slots=True)
class Write(Generic[Result]):
    """A writing call of the contract."""

    run: Callable[[Transaction], Result | Steps[Result]]
    """Carries it out, or returns the steps of it."""
    volatile: bool
    """Whether a power loss may undo it."""


AnyWrite: TypeAlias = Write[object]


class Writer:
    """The one writer of a provider: carries out groups of writes."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        transaction: Transaction,
        thread: WorkerThread,
        *,
        file: str,
        durable: bool,
        patience: float,
        identity: FileIdentity,
        on_commit: Callable[[], None],
        on_replaced: Callable[[FileReplaced], None],
    ) -> None:
        self._connection = connection
        self._transaction = transaction
        self._thread = thread
        self._file = file
        self._durable = durable
        self._patience = patience
        self._identity = identity
        self._on_commit = on_commit
        self._on_replaced = on_replaced
        self._groups: CallGroups[AnyWrite, object] = CallGroups(
            self._run_group, description=file, largest=_LARGEST_GROUP
        )
        self._committing = False
        self._is_open = False
        """Whether the event loop does other work while a group is carried out."""
        self._mode: tuple[bool, int] | None = None
        """Whether commits run without fsync in the loop, and after how many pages they checkpoint."""
        self._quick_groups = 0
        self._locked_since: float | None = None
        """Since when other processes have kept this one from writing."""
        self._disk_space = DiskSpace(file)

    @property
    def is_in_use(self) -> bool:
        """Whether a transaction on the connection is under way."""
        return self._committing or self._is_open

    def submit(
        self,
        name: str,
        run: Callable[[Transaction], Result | Steps[Result]],
        *,
        volatile: bool = False,
        undo: Callable[[Result], None] | None = None,
    ) -> GroupedCall[Write[Result], Result]:
        """Add a write to the next group. Wait for its answer with `GroupedCall.wait`.

        `volatile`: a power loss may undo it. `undo` gets the result if the caller was cancelled.
        """
        if self._identity.replaced is not None:
            raise replaced_error(self._identity.replaced, file=self._file, operation=name)
        # A group has writes with all kinds of results, and each caller knows that of its own.
        groups = cast("CallGroups[Write[Result], Result]", self._groups)
        return groups.submit(name, Write(run, volatile), undo=undo)

    async def drain(self) -> None:
        """Refuse new writes, and return when the others have been answered."""
        await self._groups.drain()

    def _run_group(self, group: Group[AnyWrite, object]) -> None:
        try:
            quick = self._begin(group)
        except (sqlite3.Error, MemoryError) as error:
            self._could_not_begin(group, error)
            return
        self._locked_since = None
        self._perform(group, quick=quick)

    def _begin(self, group: Group[AnyWrite, object]) -> bool:
        """Begin the transaction; returns whether it commits in the event loop."""
        quick = self._quick_groups < _QUICK_GROUPS and (
            not self._durable or all(each.call.volatile for each in group.calls)
        )
        if self._connection.in_transaction:
            # A ROLLBACK has failed and left the transaction open.
            self._transaction.execute("ROLLBACK")
        mode = quick, 0 if quick else self._disk_space.checkpoint_pages
        if mode != self._mode:
            self._set_mode(mode)
        self._transaction.execute("BEGIN IMMEDIATE")
        return quick

    def _set_mode(self, mode: tuple[bool, int]) -> None:
        """Set fsync and checkpoints: neither in the event loop, both in the thread."""
        quick, pages = mode
        full = self._durable and not quick
        self._mode = None
        self._transaction.execute(f"PRAGMA synchronous={'FULL' if full else 'NORMAL'}")
        self._transaction.execute(f"PRAGMA wal_autocheckpoint={pages}").fetchall()
        self._mode = mode

    def _could_not_begin(self, group: Group[AnyWrite, object], error: Exception) -> None:
        now = time.monotonic()
        if self._locked_since is None:
            self._locked_since = now
        waited = now - self._locked_since
        if is_busy(error) and waited < self._patience and not self._groups.is_draining:
            # SQLite's own waiting would block the event loop.
            pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, _PAUSE_SHARE * waited))
            group.postpone(pause * random.uniform(0.5, 1))  # noqa: S311 # jitter
            return
        self._locked_since = None
        self._fail(group, error)

    def _perform(self, group: Group[AnyWrite, object], *, quick: bool) -> None:
        before = self._connection.total_changes
        try:
            self._transaction.begin()
        except Exception as error:  # noqa: BLE001 # whatever it is, the group is undone
            self._undo(group, error)
            return
        self._go_on(group, self._perform_each(group), before, quick)

    def _go_on(
        self, group: Group[AnyWrite, object], steps: Steps[None], before: int, quick: bool
    ) -> None:
        """Carry out the next slice of the group, and at its end commit it."""
        try:
            if next(steps, _DONE) is not _DONE:
                self._is_open = True
                loop = asyncio.get_running_loop()
                loop.call_soon(self._go_on, group, steps, before, quick)
                return
            self._is_open = False
            wrote = self._connection.total_changes != before
            if wrote:
                self._transaction.finish()
            if quick or not wrote:
                self._commit()
        except Exception as error:  # noqa: BLE001 # whatever it is, the group is undone
            self._is_open = False
            self._undo(group, error)
            return
        if not wrote:
            self._answer(group)
        elif quick:
            self._quick_groups += 1
            self._answer(group)
        else:
            self._quick_groups = 0
            self._committing = True
            # The file is locked until the COMMIT is over.
            self._thread.post_and_let_begin(
                self._commit, lambda error: self._committed(group, error)
            )

    def _perform_each(self, group: Group[AnyWrite, object]) -> Steps[None]:
        """Run the writes, in slices; those that the time limit excludes go into the next group."""
        over = time.perf_counter() + _LONGEST_GROUP
        transaction = self._transaction
        for number, each in enumerate(group.calls, 1):
            transaction.now = transaction.clock.now()
            try:
                answer = each.call.run(transaction)
                if type(answer) is GeneratorType:
                    answer = yield from _in_slices(cast("Steps[object]", answer))
                each.succeed(answer)
            except PerdureError as refusal:
                each.refuse(refusal)
            if time.perf_counter() > over:
                group.put_back(number)
                return

    def _commit(self) -> None:
        self._transaction.execute("COMMIT")
        self._identity.check()

    def _committed(self, group: Group[AnyWrite, object], error: BaseException | None) -> None:
        self._committing = False
        if error is None:
            self._answer(group)
        else:
            self._undo(group, error)

    def _answer(self, group: Group[AnyWrite, object]) -> None:
        group.answer()
        self._on_commit()

    def _undo(self, group: Group[AnyWrite, object], error: BaseException) -> None:
        """Roll back, and decide what happens to the group."""
        self._transaction.forget()
        try:
            if self._connection.in_transaction:
                self._transaction.execute("ROLLBACK")
        except (sqlite3.Error, MemoryError) as second:
            error = second
        if isinstance(error, FileReplaced):
            self._stop_for_replaced_file(group, error)
        elif is_full(error) and self._disk_space.may_truncate_log():
            self._free_disk_space(group, error)
        else:
            self._try_each(group, error)

    def _try_each(self, group: Group[AnyWrite, object], error: BaseException) -> None:
        """Retry the writes of a group one by one; for a single write, report the error."""
        if len(group.calls) > 1:
            group.separate()
        else:
            self._fail(group, error)

    def _fail(self, group: Group[AnyWrite, object], error: BaseException) -> None:
        group.fail(lambda operation: self._error_of(operation, error))

    def _error_of(self, operation: str, error: BaseException) -> ProviderError:
        return provider_error(error, file=self._file, operation=operation)

    def _free_disk_space(self, group: Group[AnyWrite, object], full: BaseException) -> None:
        """Checkpoint and truncate the log, then try the group again.

        SQLite checkpoints by itself after a commit only, and on a full disk no commit succeeds.
        """
        self._committing = True

        def checkpoint() -> None:
            self._transaction.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        def made(error: BaseException | None) -> None:
            self._committing = False
            if error is None:
                group.postpone()
            else:
                self._try_each(group, full)

        self._thread.post(checkpoint, made)

    def _stop_for_replaced_file(self, group: Group[AnyWrite, object], reason: FileReplaced) -> None:
        """The file was replaced: fail this group and all further writes."""
        self._groups.fail_waiting(lambda operation: self._error_of(operation, reason))
        self._fail(group, reason)
        self._on_replaced(reason)


_DONE = object()


def _in_slices(steps: Steps[Result]) -> Steps[Result]:
    """The same steps, as many at a time as fit into a slice; returns what they return."""
    over = time.perf_counter() + _SLICE
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("Result", done.value)
        if time.perf_counter() > over:
            yield
            over = time.perf_counter() + _SLICE
