"""The event loop that orchestrations run on: asyncio's interface, without time, threads or I/O.

One loop per live execution. It runs ready callbacks until none is left and then returns; timers
are durable ones, created through `TimerPort`. Everything whose order could differ between
processes is made to depend on the history alone:

- callbacks run in the order in which they became ready;
- tasks and futures hash by a digest of the execution and their creation number, so that the sets
  that asyncio keeps of them iterate alike everywhere, and different executions do not collide;
- abandoned async generators are finalised on this loop, by reference count within a run, or
  when the execution ends; the garbage collector never decides when.

Whatever needs the outside world raises `ForbiddenInOrchestration` at once. The loop is driven
from a plain callback of the host's loop, never from within a host task: newer versions of Python
refuse to step a task while another is mid-step.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import hashlib
import inspect
import logging
import sys
from asyncio import events, tasks
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import CodeType, FrameType
from typing import Any, NoReturn, Protocol, TypeVar, cast

from perdure.clock import Instant
from perdure.errors import ForbiddenInOrchestration
from perdure.inside import OrchestrationLoopMarker

T = TypeVar("T")

_LOGGER = logging.getLogger("perdure.orchestration")
_MASK = (1 << 61) - 2  # below the modulus of Python's hash of integers, so that hash(x) == x
_STRIDE = 0x9E3779B97F4A7C15  # odd and irregular: neighbours spread over a set's table
_WAIT_CODE = cast("CodeType", vars(tasks)["_wait"].__code__)  # see create_future


class TimerPort(Protocol):
    """Where the loop asks for durable timers."""

    def create_timer(self, fire_at: Instant) -> int:
        """Ask for a timer; returns the number of its schedule event."""
        ...

    def cancel_timer(self, scheduled: int) -> None:
        """Say that a timer is not wanted any more."""
        ...


class OrchestrationFuture(asyncio.Future[T]):
    """A future whose hash is the same in every process."""

    def __init__(self, *, loop: OrchestrationLoop) -> None:
        self._hash = loop.next_hash()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._hash


class OrchestrationTask(asyncio.Task[T]):
    """A task whose hash is the same in every process."""

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        *,
        loop: OrchestrationLoop,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        self._hash = loop.next_hash()
        super().__init__(coroutine, loop=loop, name=name or f"task-{loop.created}", context=context)

    def __hash__(self) -> int:
        return self._hash


class _TimerHandle(asyncio.TimerHandle):
    """A timer handle that knows the schedule event of its durable timer."""

    scheduled: int | None = None


class OrchestrationLoop(OrchestrationLoopMarker, asyncio.AbstractEventLoop):
    """See the module."""

    def __init__(self, identity: str, port: TimerPort) -> None:
        digest = hashlib.blake2b(identity.encode(), digest_size=8).digest()
        self._base = int.from_bytes(digest)
        self._port = port
        self._now: Instant = 0
        self.created = 0
        """How many tasks and futures were created."""
        self.quiet = True
        """Whether errors that nobody handled are kept out of the log (in replay)."""
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: dict[int, _TimerHandle] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._prune_at = 64
        self._running = False
        self._halted = False
        self._generators: dict[int, AsyncGenerator[Any, Any]] = {}
        self._abandoned: list[AsyncGenerator[Any, Any]] = []

    # Driving it

    def run_until_quiet(self) -> None:
        """Run ready callbacks until none is left or `halt` was called."""
        previous = events._get_running_loop()
        hooks = sys.get_asyncgen_hooks()
        collecting = gc.isenabled()
        # A collection in the middle of a run would finalise generators at a random moment.
        gc.disable()
        sys.set_asyncgen_hooks(firstiter=None, finalizer=self._finalize_generator)
        events._set_running_loop(self)
        self._running = True
        try:
            ready = self._ready
            while ready and not self._halted:
                handle = ready.popleft()
                if not handle.cancelled():
                    handle._run()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] # what an event loop is for
        finally:
            self._running = False
            events._set_running_loop(previous)
            sys.set_asyncgen_hooks(*hooks)
            if collecting:
                gc.enable()

    def halt(self) -> None:
        """Run nothing any more: the end of the execution was decided."""
        self._halted = True

    def set_time(self, now: Instant) -> None:
        """Move the time to that of the event that is delivered next."""
        self._now = max(self._now, now)

    @property
    def now(self) -> Instant:
        """The time of the event that was delivered last."""
        return self._now

    def fire(self, scheduled: int) -> bool:
        """Make the callback of a due timer ready; False where the timer is not wanted."""
        handle = self._timers.pop(scheduled, None)
        if handle is None:
            return False
        handle.scheduled = None
        self._ready.append(handle)
        return True

    def discard(self) -> None:
        """End every task inside the loop, without effects, so that no coroutine is left suspended.

        Left to the garbage collector, the user's `finally` blocks would run at a random moment.
        The caller makes sure that nothing the cleanup asks for is carried out.
        """
        self.quiet = True
        for _ in range(8):
            pending = [task for task in self._tasks if not task.done()]
            if not pending:
                break
            self._halted = False
            for task in pending:
                task.cancel()
            self.run_until_quiet()
        self._halted = True
        for task in self._tasks:
            if not task.done():
                _close(task)
        for generator in self._abandoned:
            _run_to_end(generator.aclose())
        self._abandoned.clear()
        self._ready.clear()
        self._timers.clear()
        self._tasks.clear()

    # asyncio's interface: what works

    def next_hash(self) -> int:
        """The hash of the next task or future."""
        self.created += 1
        return (self._base + self.created * _STRIDE) & _MASK

    def time(self) -> float:
        """The time of the event that was delivered last, in seconds since the epoch."""
        return self._now / 1_000_000

    def is_running(self) -> bool:
        """Whether a callback is being run."""
        return self._running

    def is_closed(self) -> bool:
        """False: it ends with its execution."""
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
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make a callback ready after `delay` seconds, by a durable timer."""
        return self._call_at(
            self._now + round(delay * 1_000_000), delay > 0, callback, args, context
        )

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Make a callback ready at `when`, in the loop's time, by a durable timer."""
        instant = round(when * 1_000_000)
        return self._call_at(instant, instant > self._now, callback, args, context)

    def _call_at(
        self,
        instant: Instant,
        later: bool,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
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
        if handle.scheduled is not None:
            del self._timers[handle.scheduled]
            self._port.cancel_timer(handle.scheduled)
            handle.scheduled = None

    def create_future(self) -> OrchestrationFuture[Any]:
        """A future that hashes alike in every process."""
        frame = inspect.currentframe()
        caller = frame.f_back if frame is not None else None
        if caller is not None and caller.f_code is _WAIT_CODE:
            _refuse_foreign_futures(caller)
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
        frame = inspect.currentframe()
        _refuse_as_completed_of_coroutines(frame.f_back if frame is not None else None)
        task = OrchestrationTask[T](
            coro,  # pyright: ignore[reportArgumentType] # asyncio accepts generators too
            loop=self,
            name=None if name is None else str(name),
            context=context,
        )
        self._tasks.append(task)
        if len(self._tasks) > self._prune_at:
            self._tasks = [task for task in self._tasks if not task.done()]
            self._prune_at = max(64, 2 * len(self._tasks))
        return task

    def get_task_factory(self) -> None:
        """None: tasks are made by the loop."""
        return

    def get_exception_handler(self) -> None:
        """None: unhandled errors are logged."""
        return

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log an error that nobody handled, unless in replay."""
        self.call_exception_handler(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log an error that nobody handled, unless in replay."""
        if not self.quiet:
            error = context.get("exception")
            _LOGGER.error("%s", context.get("message"), exc_info=error)

    async def shutdown_asyncgens(self) -> None:
        """Nothing to do: abandoned generators are finalised by the loop itself."""

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to do: there is no executor."""

    def _finalize_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._running and events._get_running_loop() is self:
            # By reference count, in the middle of a run: the same moment in every replay.
            self.create_task(_aclose(generator))
        else:
            # By the garbage collector, at a random moment: keep it until the execution ends.
            self._abandoned.append(generator)


async def _aclose(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


def _close(task: asyncio.Task[Any]) -> None:
    coroutine = cast("Coroutine[Any, Any, object] | None", task.get_coro())
    if coroutine is not None:
        try:
            coroutine.close()
        except (RuntimeError, ValueError):
            return  # it refuses to end; nothing it does has an effect any more


def _run_to_end(awaitable: Coroutine[Any, Any, object]) -> None:
    try:
        while True:
            awaitable.send(None)
    except (StopIteration, asyncio.CancelledError, RuntimeError):
        return
    except Exception:
        _LOGGER.debug("an abandoned generator raised in its cleanup", exc_info=True)


def _refuse_foreign_futures(frame: FrameType) -> None:
    """`asyncio.wait` keeps its futures in a set; one that hashes by address would shuffle it."""
    for future in frame.f_locals.get("fs", ()):
        if not isinstance(future, OrchestrationFuture | OrchestrationTask):
            raise ForbiddenInOrchestration(
                f"asyncio.wait was given a {type(future).__name__}, whose place in a set differs"
                " from run to run; wrap it: `async def both(): return await asyncio.gather(…)`,"
                " and pass asyncio.create_task(both())"
            )


def _refuse_as_completed_of_coroutines(frame: FrameType | None) -> None:
    """`asyncio.as_completed` puts raw coroutines in a set, ordered by their addresses."""
    for _ in range(4):
        if frame is None or frame.f_code.co_filename != tasks.__file__:
            return
        if frame.f_code.co_qualname.startswith(("as_completed", "_AsCompletedIterator")):
            raise ForbiddenInOrchestration(
                "asyncio.as_completed was given coroutines, whose order in a set differs from run"
                " to run; pass tasks: asyncio.as_completed([asyncio.create_task(c), …])"
            )
        frame = frame.f_back


_FORBIDDEN = {
    "run_in_executor": "move the blocking call into an activity",
    "set_default_executor": "move the blocking call into an activity",
    "call_soon_threadsafe": "let an activity, or an event raised by the client, bring the result",
    "run_forever": "await instead",
    "run_until_complete": "await instead",
    "stop": "return from the orchestration",
    "close": "return from the orchestration",
    "set_debug": "set it on the host's loop",
    "set_exception_handler": "catch the exception in the orchestration",
    "set_task_factory": "create tasks with asyncio.create_task",
}
_FORBIDDEN_IO = [
    "add_reader",
    "remove_reader",
    "add_writer",
    "remove_writer",
    "add_signal_handler",
    "remove_signal_handler",
    "getaddrinfo",
    "getnameinfo",
    "create_connection",
    "create_server",
    "create_datagram_endpoint",
    "create_unix_connection",
    "create_unix_server",
    "connect_accepted_socket",
    "start_tls",
    "sendfile",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_connect",
    "sock_accept",
    "sock_sendfile",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_exec",
    "subprocess_shell",
]


def _forbidden(name: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(self: OrchestrationLoop, *_: object, **__: object) -> NoReturn:
        raise ForbiddenInOrchestration(
            f"{name} was used in an orchestration, where it cannot be replayed; {instead}"
        )

    refuse.__name__ = name
    refuse.__doc__ = f"Raises `ForbiddenInOrchestration`: {instead}."
    return refuse


for _name in _FORBIDDEN_IO:
    setattr(OrchestrationLoop, _name, _forbidden(_name, "do the I/O in an activity"))
for _name, _instead in _FORBIDDEN.items():
    setattr(OrchestrationLoop, _name, _forbidden(_name, _instead))
