"""Scheduled work that has not ended: who waits for it, and what its end means to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perdure import history
from perdure.diagnostics.failures import is_timeout
from perdure.errors import (
    ActivityFailed,
    ActivityTimeout,
    SubOrchestrationAlreadyExists,
    SubOrchestrationFailed,
)
from perdure.history import Event
from perdure.records.instances import MessageKind
from perdure.replay.futures import ScheduledFuture


@dataclass(frozen=True, slots=True)
class Work:
    """An activity, a timer or a child under way."""

    kind: MessageKind
    future: ScheduledFuture[Any] | None
    """None for the loop's own timers, which call back, and for the limit of a cleanup."""
    name: str = ""
    result_type: object = Any
    child: str = ""
    """The child's instance id."""


def settle(work: Work, event: Event) -> None:
    """Hand the end of the work to whoever waits for it."""
    future = work.future
    if future is None:
        return
    match event:
        case history.ActivityCompleted(result=result):
            future.settle(result, work.result_type, f"result of activity {work.name!r}")
        case history.ActivityFailed(details=details):
            failure = ActivityTimeout if is_timeout(details) else ActivityFailed
            future.fail(failure(work.name, details))
        case history.ChildCompleted(result=result):
            future.settle(result, work.result_type, f"result of sub-orchestration {work.name!r}")
        case history.ChildFailed(details=details):
            future.fail(SubOrchestrationFailed(work.child, work.name, details))
        case history.ChildRefused():
            future.fail(SubOrchestrationAlreadyExists(work.child, work.name))
        case _:
            future.succeed(None)
