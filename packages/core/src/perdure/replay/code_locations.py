"""The lines of user code that run now, or at which its tasks wait.

The innermost frame of user code counts. If it belongs to a library, the innermost line of the
orchestration's own package comes first, because that is the line to change.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from types import FrameType

from perdure.diagnostics.frames import is_user_code, module_of
from perdure.model.record import record

_MOST_PLACES = 3


@record(kw_only=False)
class WaitingTask:
    """A task of an orchestration that waits, and where its code stands."""

    name: str
    """The name of the task; the orchestration itself is `orchestration`."""
    stack: tuple[str, ...]
    """The lines of user code as `module:line in function`, outermost first."""

    def __str__(self) -> str:
        return f"{self.name} waits at {', '.join(self.stack)}"


def stacks_of(tasks: Iterable[asyncio.Task[object]]) -> tuple[WaitingTask, ...]:
    """Where these tasks wait; those that run no user code are left out."""
    found = ((task.get_name(), _stack(task)) for task in tasks)
    return tuple(WaitingTask(name, stack) for name, stack in found if stack)


def _stack(task: asyncio.Task[object]) -> tuple[str, ...]:
    return tuple(_line(frame) for frame in frames_awaited(task.get_coro()) if is_own_code(frame))


def running_at(home: str) -> str:
    """The line that the calling thread runs; `home` is a module of the orchestration's package."""
    return _place(_outwards(sys._getframe(1)), home)  # pyright: ignore[reportPrivateUsage] # the stack of the caller


def waiting_at(tasks: Iterable[asyncio.Task[object]], home: str) -> str:
    """The lines at which these tasks wait."""
    chains = (reversed(list(frames_awaited(task.get_coro()))) for task in tasks)
    places = dict.fromkeys(place for chain in chains if (place := _place(chain, home)))
    shown = list(places)[:_MOST_PLACES]
    more = len(places) - len(shown)
    return " and ".join([*shown, *([f"{more} more"] if more else [])])


def _place(frames: Iterable[FrameType], home: str) -> str:
    """The line to report, from frames in the order innermost to outermost; empty if there is none."""
    package, innermost = home.partition(".")[0], ""
    for frame in frames:
        if not is_own_code(frame):
            continue
        line = _line(frame)
        if module_of(frame).partition(".")[0] == package:
            return f"{line}, through {innermost}" if innermost else line
        innermost = innermost or line
    return innermost


def is_own_code(frame: FrameType) -> bool:
    """Whether the frame runs neither the standard library nor Perdure."""
    return is_user_code(frame) and module_of(frame).partition(".")[0] not in sys.stdlib_module_names


def _line(frame: FrameType) -> str:
    return f"{module_of(frame)}:{frame.f_lineno} in {frame.f_code.co_name}"


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def frames_awaited(coroutine: object) -> Iterator[FrameType]:
    """The frames of a suspended coroutine and of what it awaits, outermost first."""
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if isinstance(frame, FrameType):
            yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
