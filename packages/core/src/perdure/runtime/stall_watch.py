"""Notices when the event loop stands still, and logs what ran in it meanwhile.

A loop that stands still renews no lease and starts no work. While a turn or an activity is under
way, the loop notes the time at short intervals, and a thread checks whether that is late. Only if
it is late, the thread looks at the loop's stack. While nothing is under way, neither wakes up.

A process that stands still as a whole has nothing to show: its thread stood still too.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import cast

from perdure.diagnostics.frames import is_user_code, module_of
from perdure.model.record import record
from perdure.replay.execution import Execution
from perdure.runtime.activity_context import CURRENT, ActivityContext
from perdure.runtime.options import RuntimeOptions

_LOGGER = logging.getLogger("perdure.runtime")
_PER_LIMIT = 5
"""How often the loop notes the time within the limit."""
_NOT_COMING_BACK = 30.0
"""After so many seconds the thread logs it: the loop may never go on to do so."""
_AROUND_A_LOOP = frozenset({"_run_once", "run", "run_forever", "run_until_complete"})
"""Functions of asyncio below which nothing of the stack runs in the loop."""


@record(kw_only=False)
class Work:
    """An activity or an orchestration."""

    kind: str
    name: str
    instance: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of instance {self.instance!r}"

    @property
    def fields(self) -> dict[str, object]:
        """For a line of the log."""
        return {"perdure_instance": self.instance, f"perdure_{self.kind}": self.name}


@record
class Standstill:
    """What the thread saw in a loop that stood still."""

    heartbeat: float
    """The last heartbeat before it: tells which standstill it was."""
    late: float
    work: Work | None
    where: str | None
    """The innermost line of the user's own code."""


class StallWatch:
    """Watches the loop of one runtime; `arm` it when work begins."""

    def __init__(self, options: RuntimeOptions, is_busy: Callable[[], bool]) -> None:
        lease = min(options.turn_lease, options.activity_lease)
        self._limit = lease.total_seconds() / 3
        self._interval = self._limit / _PER_LIMIT
        self._is_busy = is_busy
        self.is_armed = False
        """Whether it watches now. It stops by itself when nothing is under way any more."""
        self._armed = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._next_heartbeat: asyncio.TimerHandle | None = None
        self._last_heartbeat = 0.0
        self._logged: float | None = None
        """The last heartbeat before the standstill that the thread has logged."""
        self._seen: Standstill | None = None

    def arm(self) -> None:
        """Watch from now on, as long as something is under way; called in the loop."""
        if self._closed.is_set():
            return
        self.is_armed = True
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._schedule_heartbeat(self._loop)
        self._armed.set()
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._watch, name="perdure-stall-watch", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """End the thread and the heartbeat; called in the loop."""
        if self._next_heartbeat is not None:
            # The loop would keep the whole runtime until the next heartbeat.
            self._next_heartbeat.cancel()
        self._closed.set()
        self._armed.set()

    # In the loop

    def _schedule_heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last_heartbeat = time.monotonic()
        self._next_heartbeat = loop.call_later(self._interval, self._heartbeat, loop)

    def _heartbeat(self, loop: asyncio.AbstractEventLoop) -> None:
        late = time.monotonic() - self._last_heartbeat - self._interval
        if late > self._limit and self._logged != self._last_heartbeat:
            seen = self._seen
            self._log(late, seen if seen and seen.heartbeat == self._last_heartbeat else None)
        if self._is_busy() and not self._closed.is_set():
            self._schedule_heartbeat(loop)
        else:
            self.is_armed = False
            self._armed.clear()

    # In the thread

    def _watch(self) -> None:
        while True:
            self._armed.wait()
            began = time.monotonic()
            if self._closed.wait(self._interval):
                return
            now = time.monotonic()
            if now - began > self._interval + self._limit / 2:
                continue  # the whole process stood still, so the loop's stack says nothing
            heartbeat = self._last_heartbeat
            late = now - heartbeat - self._interval
            if late > self._limit / 2 and self._armed.is_set():
                self._look(heartbeat, late)

    def _look(self, heartbeat: float, late: float) -> None:
        if self._loop is None or not self._loop.is_running():
            return  # it was left: nothing is meant to run in it
        seen = self._seen
        if seen is None or seen.heartbeat != heartbeat or seen.late <= self._limit:
            # Once beyond the limit, and before it in case the loop goes on first.
            seen = self._seen = self._see(heartbeat, late)
        if late > max(self._limit, _NOT_COMING_BACK) and self._logged != heartbeat:
            self._logged = heartbeat
            self._log(late, seen)

    def _see(self, heartbeat: float, late: float) -> Standstill:
        innermost = sys._current_frames().get(self._loop_thread)  # pyright: ignore[reportPrivateUsage] # the documented way to another thread's stack
        frames = list(_frames_in_loop(innermost))
        work = _work_of(frames) or self._work_of_task()
        return Standstill(heartbeat=heartbeat, late=late, work=work, where=_place_in(frames))

    def _work_of_task(self) -> Work | None:
        """Of a task that an activity has started: its context has the activity's variable."""
        task = asyncio.current_task(self._loop)
        get_context = getattr(task, "get_context", None)  # from Python 3.12 on
        context = get_context().get(CURRENT) if get_context is not None else None
        return _activity_of(context)

    def _log(self, late: float, seen: Standstill | None) -> None:
        stood = f"stood still for {late:.1f} s, more than a third of a lease"
        if seen is None or (seen.work is None and seen.where is None):
            _LOGGER.warning(
                "the process %s: it was suspended, had no CPU, or ran code that lets no other"
                " thread run",
                stood,
            )
            return
        _LOGGER.warning(
            "the event loop %s: %s ran in it%s; move what blocks into a plain function, which"
            " runs in a thread as an activity",
            stood,
            seen.work or "other code",
            f", at {seen.where}" if seen.where else "",
            extra=seen.work.fields if seen.work else None,
        )


def _frames_in_loop(frame: FrameType | None) -> Iterator[FrameType]:
    """What runs in the loop, the innermost first."""
    while frame is not None:
        if frame.f_code.co_name in _AROUND_A_LOOP and module_of(frame).startswith("asyncio."):
            return
        yield frame
        frame = frame.f_back


def _work_of(frames: list[FrameType]) -> Work | None:
    """The activity or orchestration whose code the frames run."""
    for frame in frames:
        match module_of(frame):
            case "perdure.runtime.activity_call":
                activity = _activity_of(frame.f_locals.get("context"))
                if activity is not None:
                    return activity
            case "perdure.replay.execution":
                execution = frame.f_locals.get("self")
                if isinstance(execution, Execution):
                    started = execution.started
                    return Work("orchestration", started.name, started.instance)
            case _:
                pass
    return None


def _activity_of(context: object) -> Work | None:
    if not isinstance(context, ActivityContext):
        return None
    activity = cast("ActivityContext[object]", context)
    return Work("activity", activity.name, activity.instance)


def _place_in(frames: list[FrameType]) -> str | None:
    """The innermost line of the user's own code, or else of a library that it uses."""
    used = [frame for frame in frames if is_user_code(frame)]
    own = [frame for frame in used if not _is_of_a_library(frame)]
    for frame in own or used:
        code = frame.f_code
        if not own and module_of(frame) == "selectors":
            return None  # the loop waits for something to do
        return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
    return None


def _is_of_a_library(frame: FrameType) -> bool:
    top = module_of(frame).partition(".")[0]
    return top in sys.stdlib_module_names or "site-packages" in frame.f_code.co_filename
