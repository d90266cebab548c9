"""Group commit: calls that wait share one transaction, or one round trip, and not their fate.

A provider submits its writing calls. Whenever calls wait and the storage is free, `start` gets them
as one group; the calls that come meanwhile form the next one. So a call on an idle storage waits for
nothing, and a crowd of calls costs few transactions.

    async def carry_out(group: Group[Write, object]) -> None:
        async with pool.transaction() as transaction:
            for each in group.calls:
                await each.call.perform(transaction, each)

    groups = CallGroups(in_tasks(carry_out), description=url.masked)
    answer = await groups.ask("commit_turn", write)

A call is refused without changing anything, so its neighbours are carried out (COMMIT-26). Where the
transaction itself fails, `Group.separate` carries out each call once more in a group of its own, so
that only the call that is to blame fails. A caller that is cancelled withdraws a call that has not
begun, and otherwise waits until its group is over: after the cancellation the call does not change
the storage any more (COMMIT-25), and `undo` takes back what no caller received (LEASE-19).
"""

# The three classes are one mechanism; what one does to another is no business of a provider.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeAlias, TypeVar, cast

from perdure.errors import PerdureError, ProviderError, StorageClosed, StorageUnavailable

Call = TypeVar("Call")
Answer = TypeVar("Answer")

ErrorOf: TypeAlias = Callable[[str], BaseException]
"""Makes the error of a call, by the name of its operation; each caller gets an error of its own."""


class GroupedCall(Generic[Call, Answer]):
    """One call on its way through a group, and the caller that waits for its answer."""

    __slots__ = (
        "_answer",
        "_begun",
        "_error",
        "_future",
        "_is_alone",
        "_left",
        "_over",
        "_undo",
        "call",
        "operation",
    )

    def __init__(
        self, operation: str, call: Call, undo: Callable[[Answer], None] | None = None
    ) -> None:
        self.operation = operation
        self.call = call
        self._undo = undo
        self._future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._answer: Answer | None = None
        self._error: BaseException | None = None
        self._is_alone = False
        """Whether it gets a group of its own, because its group failed."""
        self._begun = False
        """Whether it belongs to a group under way, and can no longer be withdrawn."""
        self._left = False
        """Whether its group is over, so that a cancelled caller has nothing to wait for."""
        self._over: asyncio.Future[None] | None = None

    def succeed(self, answer: Answer) -> None:
        """Record the answer; the caller gets it when the group is answered."""
        self._answer, self._error = answer, None

    def refuse(self, error: PerdureError) -> None:
        """Record a refusal, which changed nothing; the caller gets it when the group is answered."""
        self._error = error

    async def wait(self) -> Answer:
        """The answer. A cancelled caller withdraws the call, or waits until its group is over."""
        try:
            return await self._future
        except asyncio.CancelledError:
            if not self._future.cancelled():
                # The answer came, and the caller was cancelled before it could receive it.
                self._take_back()
            elif self._begun and not self._left:
                await self._wait_for_group()
            raise

    def ignore(self) -> None:
        """Do not wait for the answer, and take no notice of an error."""
        self._future.add_done_callback(_look_at_error)

    @property
    def _is_withdrawn(self) -> bool:
        return self._future.cancelled()

    def _begin(self) -> None:
        self._begun = True
        self._answer = self._error = None

    def _deliver(self) -> None:
        """Give the caller what was recorded, or take it back if the caller was cancelled."""
        if self._future.cancelled():
            self._take_back()
            self._leave()
        elif self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(cast("Answer", self._answer))

    def _fail(self, error_of: ErrorOf) -> None:
        if not self._future.done():
            self._future.set_exception(error_of(self.operation))
        self._leave()

    def _leave(self) -> None:
        # The group may end between a cancellation and the caller's next step.
        self._left = True
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _take_back(self) -> None:
        if self._error is not None or self._undo is None:
            return
        try:
            self._undo(cast("Answer", self._answer))
        except Exception as error:  # noqa: BLE001 # the callers of the same group get their answers
            self._future.get_loop().call_exception_handler(
                {
                    "message": f"an answer of {self.operation} that its caller could not receive"
                    " was not taken back",
                    "exception": error,
                }
            )

    async def _wait_for_group(self) -> None:
        self._over = asyncio.get_running_loop().create_future()
        while not self._over.done():
            # A second cancellation changes nothing, because the caller raises the first one.
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._over])


class Group(Generic[Call, Answer]):
    """Calls that are carried out together.

    It ends by exactly one of `answer`, `separate`, `fail` and `postpone`.
    """

    __slots__ = ("_groups", "calls")

    def __init__(
        self, groups: CallGroups[Call, Answer], calls: list[GroupedCall[Call, Answer]]
    ) -> None:
        self._groups = groups
        self.calls = calls

    def answer(self) -> None:
        """It was committed: each caller gets what was recorded for it."""
        for each in self.calls:
            each._deliver()
        self._groups._end()

    def separate(self) -> None:
        """It was undone: each call is carried out once more, in a group of its own."""
        for each in self.calls:
            each._is_alone = True
        self.postpone()

    def fail(self, error_of: ErrorOf) -> None:
        """It was undone, or nothing is known of it: each caller gets an error."""
        for each in self.calls:
            each._fail(error_of)
        self._groups._end()

    def postpone(self, seconds: float = 0) -> None:
        """It was undone: its calls are the first of the next group, which begins after this time."""
        self.put_back(0)
        self._groups._end(pause=seconds)

    def put_back(self, start: int) -> None:
        """Give the calls from this place on, none of which was carried out, to the next group."""
        self._groups._put_back(self.calls[start:])
        del self.calls[start:]


class CallGroups(Generic[Call, Answer]):
    """Gathers the calls of one provider object into groups.

    `start` is called on the event loop with each group. It returns at once; the group ends by one of
    its methods, there or later. At most `at_once` groups are under way, with up to `largest` calls
    each. `description` names the storage in errors.
    """

    def __init__(
        self,
        start: Callable[[Group[Call, Answer]], None],
        *,
        description: str,
        largest: int = 200,
        at_once: int = 1,
    ) -> None:
        self._start = start
        self._description = description
        self._largest = largest
        self._at_once = at_once
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[GroupedCall[Call, Answer]] = deque()
        self._under_way = 0
        self._is_scheduled = False
        self._is_draining = False
        self._idle: asyncio.Future[None] | None = None

    @property
    def is_draining(self) -> bool:
        """Whether new calls are refused."""
        return self._is_draining

    async def ask(
        self, operation: str, call: Call, *, undo: Callable[[Answer], None] | None = None
    ) -> Answer:
        """The answer to a call, which is carried out in the next group."""
        return await self.submit(operation, call, undo=undo).wait()

    def submit(
        self, operation: str, call: Call, *, undo: Callable[[Answer], None] | None = None
    ) -> GroupedCall[Call, Answer]:
        """Add a call to the next group, and wait for its answer with `GroupedCall.wait`.

        `undo` gets an answer that its caller cannot receive any more. Raises `StorageClosed` after
        `drain`.
        """
        if self._is_draining:
            raise StorageClosed(
                f"the provider of {self._description!r} is closed; open it again",
                operation=operation,
            )
        grouped = GroupedCall(operation, call, undo)
        self._waiting.append(grouped)
        self._schedule()
        return grouped

    async def drain(self) -> None:
        """Refuse new calls, and return when the others have been answered."""
        self._is_draining = True
        if self._waiting or self._under_way:
            if self._idle is None:
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    def fail_waiting(self, error_of: ErrorOf) -> None:
        """Fail the calls that wait for a group; groups under way go on."""
        while self._waiting:
            self._waiting.popleft()._fail(error_of)
        self._tell_idle()

    def _schedule(self, pause: float = 0) -> None:
        if self._is_scheduled or not self._waiting or self._under_way >= self._at_once:
            return
        self._is_scheduled = True
        if pause:
            self._loop.call_later(pause, self._start_next)
        else:
            self._loop.call_soon(self._start_next)

    def _start_next(self) -> None:
        self._is_scheduled = False
        calls = self._take()
        if calls:
            self._under_way += 1
            self._start(Group(self, calls))
        self._schedule()
        self._tell_idle()

    def _take(self) -> list[GroupedCall[Call, Answer]]:
        """The next group, without calls that were withdrawn before it began."""
        taken: list[GroupedCall[Call, Answer]] = []
        while self._waiting and len(taken) < self._largest:
            if self._waiting[0]._is_alone and taken:
                break
            each = self._waiting.popleft()
            if each._is_withdrawn:
                each._leave()
                continue
            each._begin()
            taken.append(each)
            if each._is_alone:
                break
        return taken

    def _put_back(self, calls: list[GroupedCall[Call, Answer]]) -> None:
        for each in calls:
            each._begun = False
        self._waiting.extendleft(reversed(calls))

    def _end(self, *, pause: float = 0) -> None:
        self._under_way -= 1
        self._schedule(pause)
        self._tell_idle()

    def _tell_idle(self) -> None:
        if self._idle is None or self._idle.done() or self._waiting or self._under_way:
            return
        self._idle.set_result(None)


def in_tasks(
    carry_out: Callable[[Group[Call, Answer]], Awaitable[None]],
) -> Callable[[Group[Call, Answer]], None]:
    """What `CallGroups` starts groups by, for a driver with coroutines.

    `carry_out` returns when the group was committed. If it raises, nothing of the group may have
    been stored: several calls are carried out once more, each in a group of its own, and a single
    call fails with the error. An error that is retryable concerns the storage and not a call, so
    all callers get it at once.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def carried_out(group: Group[Call, Answer]) -> None:
        try:
            await carry_out(group)
        except asyncio.CancelledError:
            group.fail(_cancelled)
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the callers get it
            if len(group.calls) > 1 and not _is_outage(error):
                group.separate()
            else:
                group.fail(_copies_of(error))
        else:
            group.answer()

    def start(group: Group[Call, Answer]) -> None:
        task = asyncio.ensure_future(carried_out(group))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return start


def _is_outage(error: Exception) -> bool:
    return isinstance(error, ProviderError) and error.retryable


def _cancelled(operation: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"{operation} was under way when its event loop ended; repeat it", operation=operation
    )


def _copies_of(error: Exception) -> ErrorOf:
    """The error once more for each caller: those who raised the same one would share a traceback."""

    def copied(operation: str) -> Exception:
        del operation
        found = copy.copy(error)
        found.__cause__ = error.__cause__
        return found

    return copied


def _look_at_error(future: asyncio.Future[Answer]) -> None:
    if not future.cancelled():
        future.exception()
