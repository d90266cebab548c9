"""Refuses objects that asyncio would order by their address, and futures that threads complete.

asyncio puts the arguments of `wait` and `as_completed` into sets. The loop's own futures and tasks
hash alike in every process; raw coroutines and the futures of `asyncio.gather` do not, so their
order would differ from run to run. Each is found where asyncio's code calls the loop. A set of one
has only one order, and is accepted.
"""

from __future__ import annotations

from asyncio import tasks, wrap_future
from collections.abc import Sized
from types import CodeType, FrameType
from typing import NoReturn, cast

from perdure.errors import ForbiddenInOrchestration
from perdure.model.guards import OrchestrationLoopMarker

_TASKS = tasks.__dict__

WAIT_CODE = cast("CodeType", _TASKS["_wait"].__code__)
"""The code of the function that puts its arguments into a set and then creates a future."""

WRAP_CODE = wrap_future.__code__
"""The code of the function that wraps a future that a thread completes."""

GATHERING = cast("type[object]", _TASKS["_GatheringFuture"])
"""The class of the futures of `asyncio.gather`."""


def refuse_foreign_futures(loop: OrchestrationLoopMarker, frame: FrameType, *known: type) -> None:
    """Refuse futures of other kinds in `asyncio.wait`, which keeps them in a set."""
    futures = cast("set[object]", frame.f_locals.get("fs", set()))
    if len(futures) == 1:
        return
    for future in futures:
        if not isinstance(future, known):
            loop.forbid(
                ForbiddenInOrchestration(
                    f"asyncio.wait was given a {type(future).__name__}, whose place in a set"
                    " differs from run to run; wrap it: `async def both(): return await"
                    " asyncio.gather(…)`, and pass asyncio.create_task(both())"
                )
            )


def refuse_futures_of_threads(loop: OrchestrationLoopMarker) -> NoReturn:
    """Refuse `asyncio.wrap_future`: the thread could not call the loop, and the wait would never end."""
    loop.forbid(
        ForbiddenInOrchestration(
            "asyncio.wrap_future was used in an orchestration, where a thread cannot be replayed;"
            " move the call into an activity"
        )
    )


def refuse_as_completed_of_coroutines(loop: OrchestrationLoopMarker, caller: FrameType) -> None:
    """Refuse raw coroutines in `asyncio.as_completed`, which puts them into a set by their address."""
    if caller.f_globals is not _TASKS:
        return
    frame: FrameType | None = caller
    for _ in range(4):
        if frame is None:
            return
        if _is_as_completed(frame):
            if _has_one(frame):
                return
            loop.forbid(
                ForbiddenInOrchestration(
                    "asyncio.as_completed was given coroutines, whose order in a set differs from"
                    " run to run; pass tasks: asyncio.as_completed([asyncio.create_task(c), …])"
                )
            )
        frame = frame.f_back


def refuse_gathered_in_as_completed(loop: OrchestrationLoopMarker, frame: FrameType) -> None:
    """Refuse finished futures of `asyncio.gather` in `asyncio.as_completed`, which iterates a set."""
    if _is_as_completed(frame) and not _has_one(frame):
        loop.forbid(
            ForbiddenInOrchestration(
                "asyncio.as_completed was given a finished future of asyncio.gather, whose place"
                " in a set differs from run to run; wrap it: `async def both(): return await"
                " asyncio.gather(…)`, and pass asyncio.create_task(both())"
            )
        )


def _is_as_completed(frame: FrameType) -> bool:
    return frame.f_globals is _TASKS and frame.f_code.co_qualname.startswith(
        ("as_completed", "_AsCompletedIterator")
    )


def _has_one(frame: FrameType) -> bool:
    """Whether `asyncio.as_completed` got a single argument; a comprehension may be inside it."""
    outer: FrameType | None = frame
    while outer is not None and _is_as_completed(outer):
        given = outer.f_locals.get("fs", outer.f_locals.get("aws"))
        if isinstance(given, Sized):
            return len(given) == 1
        outer = outer.f_back
    return False
