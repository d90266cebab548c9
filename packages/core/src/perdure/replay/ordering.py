"""Refuses what asyncio would put in order by the address of objects, or take from threads.

asyncio keeps what `wait` and `as_completed` are given in sets. The loop's own futures and tasks
hash alike in every process; raw coroutines and the futures of `asyncio.gather` do not, so that
their order would differ from run to run. Each is found where asyncio's own code calls the loop.
A set of one has one order, and is let through.
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
"""Of the function that creates a future once it has put what it was given in a set."""

WRAP_CODE = wrap_future.__code__
"""Of the function that makes a future of one that a thread completes."""

GATHERING = cast("type[object]", _TASKS["_GatheringFuture"])
"""The class of the futures of `asyncio.gather`."""


def refuse_foreign_futures(loop: OrchestrationLoopMarker, frame: FrameType, *known: type) -> None:
    """`asyncio.wait` keeps its futures in a set; one that hashes by address would shuffle it."""
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
    """The thread could not call the loop, and the orchestration would wait for ever."""
    loop.forbid(
        ForbiddenInOrchestration(
            "asyncio.wrap_future was used in an orchestration, where a thread cannot be replayed;"
            " move the call into an activity"
        )
    )


def refuse_as_completed_of_coroutines(loop: OrchestrationLoopMarker, caller: FrameType) -> None:
    """`asyncio.as_completed` puts raw coroutines in a set, ordered by their addresses."""
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
    """`asyncio.as_completed` goes through a set; finished futures come out in its order."""
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
    """Whether `asyncio.as_completed` was given one thing only; a comprehension may be inside it."""
    outer: FrameType | None = frame
    while outer is not None and _is_as_completed(outer):
        given = outer.f_locals.get("fs", outer.f_locals.get("aws"))
        if isinstance(given, Sized):
            return len(given) == 1
        outer = outer.f_back
    return False
