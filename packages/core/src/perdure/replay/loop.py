"""The event loop that orchestrations run on: asyncio's interface without time, threads or I/O.

There is one loop for each live execution. It runs ready callbacks until none is left and then
returns; timers are durable ones, created through `LoopPort`. Every order that could differ between
processes depends on the history alone:

- Callbacks run in the order in which they became ready.
- Tasks and futures hash by a digest of the execution and their creation number. The sets that
  asyncio keeps of them iterate alike in every process, and different executions do not collide.
- Abandoned async generators are finalised on this loop, by reference count within a run, or when
  the execution ends; the garbage collector never decides when.

A call that needs the outside world raises `ForbiddenInOrchestration` at once. The host may run the
loop from within a task of its own: that task stands aside while the loop is entered, because from
Python 3.14 on no task can be stepped while another one is the current task of the thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import sys
import weakref
from asyncio import events, futures
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from threading import get_ident
from typing import Any, TypeAlias, TypeVar, cast

from perdure.clock import Instant
from perdure.diagnostics.failures import ends_the_process
from perdure.errors import ForbiddenInOrchestration, InvalidDuration
from perdure.replay.futures import OrchestrationFuture, OrchestrationTask
from perdure.replay.guarded_loop import GuardedLoop, LoopPort
from perdure.replay.ordering import (
    GATHERING,
    WAIT_CODE,
    WRAP_CODE,
    refuse_as_completed_of_coroutines,
    refuse_foreign_futures,
    refuse_futures_of_threads,
    refuse_gathered_in_as_completed,
)

T = TypeVar("T")

_Outside: TypeAlias = tuple[
    asyncio.AbstractEventLoop | None, asyncio.Task[Any] | None, tuple[Any, Any], bool
]
"""The host's running loop, its current task and its hooks for generators, and whether it collects
garbage."""

_LOGGER = logging.getLogger("perdure.orchestration")
_MOST_CALLBACKS = 2_000_000
_MOST_CANCELS = 8  # of a task that swallows its cancellation when it is discarded
_FEW_TASKS = 64
"""Up to this many tasks are checked after each run for those that have ended."""
_NEVER = 253_402_300_800  # the year 10000, in seconds since the epoch
_END_OF_SLEEP = vars(futures)["_set_result_unless_cancelled"]
"""The callback of `asyncio.sleep`, which a timeout does not use."""


class EndlessRun(ForbiddenInOrchestration):
    """The orchestration runs without ever waiting for anything."""


class _Handle(asyncio.Handle):
    """A handle without what asyncio's debug mode asks for; the loop makes some for each event."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: OrchestrationLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._context = contextvars.copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class _TimerHandle(asyncio.TimerHandle):
    """A timer handle that knows the schedule event of its durable timer."""

    scheduled: int | None = None
    sleeps_for_ever = False


class OrchestrationLoop(GuardedLoop):
    """The event loop of one execution."""

    def __init__(self, identity: str, port: LoopPort) -> None:
        super().__init__(identity, port)
        self._now: Instant = 0
        self.context: object | None = None
        """The context of the execution, for `orchestration_context`."""
        self.is_silent = True
        """Whether unhandled errors are left out of the log, as in replay."""
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: dict[int, _TimerHandle] = {}
        self._tasks: list[OrchestrationTask[Any]] = []
        """The tasks that have not ended, and possibly some that have."""
        self._failed: list[weakref.ref[OrchestrationTask[Any]]] | None = None
        """The tasks that raised and may still be awaited."""
        self._endless_sleeps = 0
        self._prune_at = _FEW_TASKS
        self._callbacks_left = _MOST_CALLBACKS
        """For the event that is being delivered."""
        self._halted = False
        self._discarded = False
        self._abandoned: list[AsyncGenerator[Any, Any]] | None = None
        self._outside: _Outside | None = None
        """The host's state, which is restored when the loop is left; None if it is not entered."""

    # Running it

    def enter(self) -> None:
        """Make this the running loop, admit this thread, and disable the garbage collector.

        The task of the host that calls this stands aside until `leave`.

        Several events may be delivered before `leave`: entering takes longer than a short run.
        """
        self._driver = get_ident()
        host = events._get_running_loop()
        task = None
        if host is not None:
            task = asyncio.current_task(host)
            if task is not None:
                # Documented, for task implementations of third parties.
                asyncio._leave_task(host, task)
        self._outside = (host, task, sys.get_asyncgen_hooks(), gc.isenabled())
        # A collection during a run would finalise generators at a random moment.
        gc.disable()
        sys.set_asyncgen_hooks(None, self._finalize_generator)
        events._set_running_loop(self)

    def leave(self) -> None:
        """Restore what `enter` has changed."""
        outside, self._outside = self._outside, None
        self._driver = 0
        if outside is None:
            return
        host, task, hooks, collects = outside
        events._set_running_loop(host)
        sys.set_asyncgen_hooks(*hooks)
        if collects:
            gc.enable()
        if host is not None and task is not None:
            asyncio._enter_task(host, task)

    def run_until_quiet(self, most: int = _MOST_CALLBACKS) -> None:
        """Run ready callbacks until none is left, `halt` was called, or so many were run.

        The loop is entered. Raises `EndlessRun` after two million callbacks for one event. A replay ends at the same
        callback, because callbacks are counted, not timed.
        """
        budget = min(most, self._callbacks_left)
        self._running = True
        try:
            ready = self._ready
            for _ in range(budget):
                if self._halted or not ready:
                    return
                handle = ready.popleft()
                if handle._cancelled:  # pyright: ignore[reportAttributeAccessIssue] # as every event loop reads it
                    continue
                try:
                    # What `Handle._run` does, without a call for each callback.
                    handle._context.run(handle._callback, *handle._args)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] # what an event loop is for
                except BaseException as error:
                    if ends_the_process(error):
                        raise
                    # A task that exits holds the exception; it must not end the host.
                    is_exit = isinstance(error, (SystemExit, KeyboardInterrupt))
                    if not (is_exit and _is_of_a_task(handle)):
                        self.call_exception_handler(
                            {"message": "a callback raised", "exception": error}
                        )
        finally:
            # A traceback may keep this frame alive, which must not keep the task alive.
            handle = None
            self._running = False
            # With many tasks, `create_task` does it from time to time.
            if len(self._tasks) <= _FEW_TASKS:
                self._forget_ended_tasks()
        self._callbacks_left -= budget
        if self._callbacks_left or self.is_quiet:
            return
        raise EndlessRun(
            f"the orchestration ran {_MOST_CALLBACKS} callbacks without waiting for anything from"
            " outside; wait for an activity, an event or a timer instead of asking in a loop"
        )

    @property
    def is_quiet(self) -> bool:
        """Whether no callback is left to run."""
        return self._halted or not self._ready

    def _forget_ended_tasks(self) -> None:
        """Drop references to ended tasks, so that asyncio reports unawaited exceptions when they are freed."""
        for task in self._tasks:
            if task.done():
                break
        else:
            return
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            if not task.done():
                self._tasks.append(task)
            elif _may_be_unawaited(task):
                self._failed = self._failed or []
                self._failed.append(weakref.ref(task))

    def take_unawaited(self) -> list[OrchestrationTask[Any]]:
        """The tasks whose exception nothing has awaited, at the end of the execution."""
        failed = [task for ref in self._failed or () if (task := ref()) is not None]
        self._failed = None
        return [task for task in (*failed, *self._tasks) if task.done() and _may_be_unawaited(task)]

    def halt(self) -> None:
        """Run no further callback, because the execution has ended."""
        self._halted = True

    def set_time(self, now: Instant) -> None:
        """Set the time to that of the event that is delivered next; it never steps back."""
        if now > self._now:
            self._now = now
        self._callbacks_left = _MOST_CALLBACKS

    @property
    def now(self) -> Instant:
        """The time of the event that was delivered last."""
        return self._now

    @property
    def sleeps_for_ever(self) -> bool:
        """Whether a task sleeps forever, and waits only for its cancellation."""
        return self._endless_sleeps > 0

    def waiting_tasks(self) -> list[OrchestrationTask[Any]]:
        """The tasks that have not ended, in the order of their creation."""
        return [task for task in self._tasks if not task.done()]

    @property
    def timers(self) -> Mapping[int, asyncio.TimerHandle]:
        """What is called back by a timer, by the number of its schedule event."""
        return self._timers

    def fire(self, scheduled: int) -> bool:
        """Make the callback of a due timer ready; returns False if the timer was cancelled."""
        handle = self._timers.pop(scheduled, None)
        if handle is None:
            return False
        handle.scheduled = None
        self._ready.append(handle)
        return True

    def discard(self) -> None:
        """End every task inside the loop, so that no coroutine is left suspended.

        The garbage collector would otherwise run the `finally` blocks of user code at a random
        moment. The caller makes sure that commands of this cleanup have no effect.
        """
        self.is_silent = True
        self.enter()
        try:
            for _ in range(_MOST_CANCELS):
                pending = self.waiting_tasks()
                if not pending:
                    break
                self._halted, self._callbacks_left = False, _MOST_CALLBACKS
                for task in pending:
                    task.cancel()
                with suppress(EndlessRun):
                    self.run_until_quiet()
            self._halted = self._discarded = self._running = True
            for task in self._tasks:
                if not task.done():
                    _close(task)
            self._ready.clear()
            self._timers.clear()
            self._tasks.clear()
            for generator in self._abandoned or ():
                _run_to_end(generator.aclose())
            self._abandoned = None
        finally:
            self._running = False
            self.leave()

    # asyncio's interface

    def time(self) -> float:
        """The time of the event that was delivered last, in seconds since the epoch."""
        return self._now / 1_000_000

    def is_closed(self) -> bool:
        """False: the loop ends with its execution."""
        return False

    def get_debug(self) -> bool:
        """False: asyncio's debug mode reads clocks."""
        return False

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Make a callback ready."""
        if self._driver != get_ident():
            self.refuse_outside_use()
        if args and type(args[0]) is GATHERING:
            refuse_gathered_in_as_completed(self, sys._getframe(1))  # pyright: ignore[reportPrivateUsage] # cheaper than inspect, on the hot path
        handle = _Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make a callback ready after `delay` seconds, by a durable timer; never, if infinite."""
        if delay > _NEVER:
            handle = _TimerHandle(delay, callback, args, self, context)
            if callback is _END_OF_SLEEP:
                handle.sleeps_for_ever = True
                self._endless_sleeps += 1
            return handle
        instant = self._now + _microseconds(delay)
        return self._call_at(instant, delay > 0, callback, args, context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make a callback ready at `when`, in the loop's time, by a durable timer."""
        if when > _NEVER:
            return _TimerHandle(when, callback, args, self, context)
        instant = _microseconds(when)
        return self._call_at(instant, instant > self._now, callback, args, context)

    def _call_at(
        self,
        instant: Instant,
        later: bool,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        if self._driver != get_ident():
            self.refuse_outside_use()
        handle = _TimerHandle(instant / 1_000_000, callback, args, self, context)
        if later:
            handle.scheduled = self._port.create_timer(max(instant, self._now + 1))
            self._timers[handle.scheduled] = handle
        else:
            self._ready.append(handle)
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        # Called by TimerHandle.cancel, also after the timer fired.
        assert isinstance(handle, _TimerHandle)  # noqa: S101 # only this loop's handles come here
        if handle.sleeps_for_ever:
            self._endless_sleeps -= 1
        if handle.scheduled is not None:
            self._timers.pop(handle.scheduled, None)
            self._port.cancel_timer(handle.scheduled)
            handle.scheduled = None

    def create_future(self) -> OrchestrationFuture[Any]:
        """A future that hashes alike in every process."""
        if self._driver != get_ident():
            self.refuse_outside_use()
        caller = sys._getframe(1)  # pyright: ignore[reportPrivateUsage] # cheaper than inspect, on the hot path
        code = caller.f_code
        if code is WRAP_CODE:
            refuse_futures_of_threads(self)
        if code is WAIT_CODE:
            refuse_foreign_futures(self, caller, OrchestrationFuture, OrchestrationTask)
        return OrchestrationFuture(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **_: object,
    ) -> OrchestrationTask[T]:
        """A task that hashes alike in every process. It never starts eagerly."""
        if self._driver != get_ident():
            self.refuse_outside_use()
        refuse_as_completed_of_coroutines(self, sys._getframe(1))  # pyright: ignore[reportPrivateUsage] # cheaper than inspect, on the hot path
        # Not OrchestrationTask[T](…), which every task would keep as an object of its own.
        task: OrchestrationTask[T] = OrchestrationTask(
            coro,  # pyright: ignore[reportArgumentType] # asyncio accepts generators too
            loop=self,
            name=None if name is None else str(name),
            context=context,
        )
        self._tasks.append(task)
        if len(self._tasks) > self._prune_at:
            self._forget_ended_tasks()
            self._prune_at = max(_FEW_TASKS, 2 * len(self._tasks))
        return task

    def get_task_factory(self) -> None:
        """None: tasks are made by the loop."""
        return

    def get_exception_handler(self) -> None:
        """None: unhandled errors are logged."""
        return

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log an unhandled error, except in replay."""
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log an unhandled error, except in replay."""
        if self.is_silent:
            return
        what, task = str(context.get("message")), context.get("future")
        if isinstance(task, OrchestrationTask):
            what = f"the exception of task {task.get_name()!r} was never awaited"
        self._port.log_unhandled(what, context.get("exception"))

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: abandoned generators are finalised by the loop itself."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do: there is no executor."""

    def _finalize_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        inside = self._running and events._get_running_loop() is self
        if inside and not self._discarded:
            # By reference count during a run, which happens at the same moment in every replay.
            self.create_task(_aclose(generator))
        else:
            # By the garbage collector, at a random moment: keep the generator until the execution ends.
            self._abandoned = self._abandoned or []
            self._abandoned.append(generator)


async def _aclose(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


def _may_be_unawaited(task: OrchestrationTask[Any]) -> bool:
    """Whether it raised and nothing has retrieved its exception."""
    # asyncio decides by this flag whether to report the exception.
    return not task.attempts_of and bool(task._log_traceback)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]


def _microseconds(seconds: float) -> int:
    try:
        return round(seconds * 1_000_000)
    except (ValueError, OverflowError):  # NaN, minus infinity
        raise InvalidDuration(f"{seconds} is no time; pass a number of seconds") from None


def _is_of_a_task(handle: asyncio.Handle) -> bool:
    """Whether the callback is a step of a task."""
    return isinstance(getattr(handle._callback, "__self__", None), asyncio.Task)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType] # as asyncio's debug mode reads it


def _close(task: asyncio.Task[Any]) -> None:
    coroutine = cast("Coroutine[Any, Any, object] | None", task.get_coro())
    if coroutine is not None:
        try:
            coroutine.close()
        except BaseException as error:
            if ends_the_process(error):
                raise
            # The coroutine does not end; nothing that it does has an effect any more.


def _run_to_end(closing: Coroutine[Any, Any, object]) -> None:
    try:
        closing.send(None)
        for _ in range(_MOST_CANCELS):
            closing.throw(asyncio.CancelledError())
    except (StopIteration, asyncio.CancelledError, RuntimeError):
        return
    except BaseException as error:
        if ends_the_process(error):
            raise
        _LOGGER.debug("an abandoned generator raised in its cleanup", exc_info=True)
