"""Where each task of an execution stands: the lines of its code, and what it waits for.

It looks at suspended tasks from outside, between two deliveries, and changes nothing.
"""

from __future__ import annotations

import asyncio
import linecache
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import CellType
from typing import Any, Final, TypeAlias, cast

from perdure import history
from perdure.clock import to_datetime
from perdure.diagnostics.frames import module_of
from perdure.history import Event
from perdure.model.record import record
from perdure.replay.code_locations import frames_awaited, is_own_code
from perdure.replay.futures import OrchestrationTask, ScheduledFuture

_MOST_AWAITED: Final = 20

Timers: TypeAlias = Mapping[int, asyncio.TimerHandle]
"""The timers of the loop, by the number of their schedule event."""


@record(frozen=True)
class SourceLine:
    """A line of your code at which a task stands."""

    module: str
    file: str
    """Its path, as this process imported it."""
    line: int
    function: str
    text: str
    """The line itself, without what is before and behind it; empty if the source is not there."""

    def __str__(self) -> str:
        return f"{self.module}:{self.line} in {self.function}"


@record(frozen=True)
class TaskPosition:
    """A task of an orchestration that has not ended, and where its code stands."""

    name: str
    """The name of the task; the orchestration itself is `orchestration`."""
    lines: tuple[SourceLine, ...]
    """Outermost first; the last one is where it waits."""
    waits_for: tuple[str, ...]
    """What it waits for, in words, such as "activity 'charge' (event 5)"; the numbers are those of
    the schedule events."""


def positions_of(
    tasks: Sequence[OrchestrationTask[Any]],
    events: Sequence[Event],
    *,
    timers: Timers,
    futures: Iterable[asyncio.Future[Any]],
) -> tuple[TaskPosition, ...]:
    """Where these tasks stand; those that run no user code are left out.

    `futures` are those of open work and waits, one of which a shield may stand for.
    """
    look = _Look(events, timers, (*futures, *tasks))
    found = ((task, tuple(_lines(task))) for task in tasks)
    return tuple(
        TaskPosition(name=task.get_name(), lines=lines, waits_for=tuple(look.awaited_by(task)))
        for task, lines in found
        if lines
    )


def _lines(task: asyncio.Task[Any]) -> Iterator[SourceLine]:
    for frame in frames_awaited(task.get_coro()):
        if is_own_code(frame):
            file = frame.f_code.co_filename
            yield SourceLine(
                module=module_of(frame),
                file=file,
                line=frame.f_lineno,
                function=frame.f_code.co_qualname,
                text=linecache.getline(file, frame.f_lineno, frame.f_globals).strip(),
            )


class _Look:
    """Names what futures stand for."""

    def __init__(
        self, events: Sequence[Event], timers: Timers, inner: Sequence[asyncio.Future[Any]]
    ) -> None:
        self._events = {event.event_id: event for event in events}
        self._sleeps = {
            id(argument): number
            for number, handle in timers.items()
            for argument in cast("tuple[object, ...]", handle._args or ())  # pyright: ignore[reportAttributeAccessIssue] # what `asyncio.sleep` calls back with
        }
        self._inner = inner

    def awaited_by(self, task: asyncio.Task[Any]) -> Iterator[str]:
        """What the task waits for, in words."""
        future = _future_of(task)
        if future is not None:
            named = list(self._names(future))
            if named:
                yield from named[:_MOST_AWAITED]
                if len(named) > _MOST_AWAITED:
                    yield f"and {len(named) - _MOST_AWAITED} more"
                return
        inner = [frame for frame in frames_awaited(task.get_coro()) if not is_own_code(frame)]
        if inner:
            yield inner[-1].f_code.co_qualname

    def _names(self, future: asyncio.Future[Any]) -> Iterator[str]:
        if future.done():
            return
        if isinstance(future, ScheduledFuture):
            yield self._work(future.scheduled)
        elif isinstance(future, OrchestrationTask):
            inner = _future_of(future)
            if future.attempts_of and inner is not None:
                yield from self._names(inner)
            else:
                yield f"task {future.get_name()!r}"
        elif (number := self._sleeps.get(id(future))) is not None:
            yield self._work(number)
        else:
            # The callbacks of a gather have its future too, so its own list counts first.
            for each in _gathered(future) or self._shielded(future):
                yield from self._names(each)

    def _shielded(self, outer: asyncio.Future[Any]) -> Sequence[asyncio.Future[Any]]:
        return [each for each in self._inner if _hands_over_to(each, outer)]

    def _work(self, number: int) -> str:
        event = self._events.get(number)
        match event:
            case history.ActivityScheduled():
                what = f"activity {event.name!r}"
                if event.attempt > 1:
                    what += f", attempt {event.attempt}"
            case history.TimerCreated():
                what = f"timer until {to_datetime(event.fire_at):%Y-%m-%d %H:%M:%S}"
            case history.WaitCreated():
                what = f"event {event.name!r}"
            case history.ChildScheduled():
                what = f"child {event.instance!r}"
            case _:
                return f"event {number} of the history"
        return f"{what} (event {number})"


def _future_of(task: asyncio.Task[Any]) -> asyncio.Future[Any] | None:
    """What the task awaits now."""
    return cast("asyncio.Future[Any] | None", getattr(task, "_fut_waiter", None))


def _gathered(future: asyncio.Future[Any]) -> Sequence[asyncio.Future[Any]]:
    return cast("Sequence[asyncio.Future[Any]]", getattr(future, "_children", ()))


def _hands_over_to(inner: asyncio.Future[Any], outer: asyncio.Future[Any]) -> bool:
    """Whether `asyncio.shield(inner)` returned the other one: its callback has it in a closure."""
    pairs = cast("Sequence[tuple[object, object]] | None", getattr(inner, "_callbacks", None))
    return any(
        cell.cell_contents is outer
        for callback, _ in pairs or ()
        for cell in cast("tuple[CellType, ...] | None", getattr(callback, "__closure__", None))
        or ()
    )
