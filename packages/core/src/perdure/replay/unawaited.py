"""Finds scheduled work that is under way and that nothing has ever awaited.

The callbacks of a future show what waits for it now. The future records when a callback is removed,
as `asyncio.wait` does for all but the first. A future with neither was never awaited, and nor was
one that only a task awaits which nothing awaits itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, cast

from perdure.records.instances import MessageKind
from perdure.replay.futures import OrchestrationTask, PatientFuture, ScheduledFuture
from perdure.replay.inbox import Wait
from perdure.replay.turn import Work


class OwnCallback:
    """A callback of the engine, which does not count as awaiting."""


class HandOver:
    """Settles the future that user code holds with the outcome of a task."""

    def __init__(self, future: ScheduledFuture[Any]) -> None:
        self.future = future

    def __call__(self, done: asyncio.Future[Any]) -> None:
        """Settle the future, as a done callback of the task."""
        if done.cancelled():
            self.future.cancel()
        elif (error := done.exception()) is not None:
            self.future.fail(error)
        else:
            self.future.succeed(done.result())


def unawaited(
    work: Iterable[Work], waits: Iterable[Wait], tasks: Iterable[OrchestrationTask[Any]]
) -> Iterator[str]:
    """The work that was never awaited, in words."""
    for one in work:
        if one.future is not None and not _is_awaited(one.future):
            yield _words(one)
    for wait in waits:
        if not _is_awaited(wait.future):
            yield f"the wait for event {wait.name!r}"
    for task in tasks:
        if task.attempts_of and not _is_awaited(task):
            yield f"activity {task.attempts_of!r}"


def promised(work: Iterable[Work], tasks: Iterable[OrchestrationTask[Any]]) -> Iterator[str]:
    """The activities with `cancellation="wait"` that are under way, in words.

    Those that nothing has ever awaited are left out.
    """
    for one in work:
        if isinstance(one.future, PatientFuture) and _is_awaited(one.future):
            yield _words(one)
    for task in tasks:
        if task.attempts_of and any(map(_hands_over_patiently, _callbacks(task))):
            yield f"activity {task.attempts_of!r}"


def _hands_over_patiently(callback: object) -> bool:
    return (
        isinstance(callback, HandOver)
        and isinstance(callback.future, PatientFuture)
        and _is_awaited(callback.future)
    )


def _words(work: Work) -> str:
    if work.kind is MessageKind.ACTIVITY:
        return f"activity {work.name!r}"
    if work.kind is MessageKind.CHILD:
        return f"sub-orchestration {work.name!r} ({work.child!r})"
    return "a timer"


def _is_awaited(future: ScheduledFuture[Any] | OrchestrationTask[Any]) -> bool:
    return future.was_awaited or any(map(_awaits, _callbacks(future)))


def _callbacks(future: ScheduledFuture[Any] | OrchestrationTask[Any]) -> list[object]:
    # asyncio has no public way to ask; its own debug representation reads this.
    pairs = cast("list[tuple[object, object]] | None", future._callbacks)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    return [callback for callback, _ in pairs or ()]


def _awaits(callback: object) -> bool:
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, OrchestrationTask):
        # Attempts are reported by their task.
        return bool(owner.attempts_of) or _is_awaited(cast("OrchestrationTask[Any]", owner))
    if isinstance(callback, HandOver):
        return _is_awaited(callback.future)
    return not isinstance(callback, OwnCallback)
