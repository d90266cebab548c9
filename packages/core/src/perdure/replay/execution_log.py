"""The log of an execution: each thing once, nothing in replay and nothing after the end."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from perdure.diagnostics.logs import (
    Fields,
    activity_logger,
    log_line,
    orchestration_logger,
    trace_text,
)
from perdure.errors import ActivityFailed
from perdure.history import OrchestrationStarted

if TYPE_CHECKING:
    from perdure.replay.transcript import Transcript


class ExecutionLog:
    """The log lines of one execution, under the logger of its orchestration."""

    __slots__ = ("_started", "_transcript")

    def __init__(self, started: OrchestrationStarted, transcript: Transcript) -> None:
        self._started = started
        self._transcript = transcript

    @property
    def is_silent(self) -> bool:
        """Whether nothing is logged: in replay and after the end."""
        return not self._transcript.effective

    @property
    def logger(self) -> logging.Logger:
        """The logger of the orchestration."""
        return orchestration_logger(self._started.name)

    @property
    def fields(self) -> Fields:
        """The fields of every line."""
        started = self._started
        return {
            "perdure_instance": started.instance,
            "perdure_execution": started.execution,
            "perdure_orchestration": started.name,
            "perdure_version": started.version,
        }

    def unhandled(self, what: str, error: BaseException | None) -> None:
        """Log an exception that nothing handled or awaited; the loop leaves out those of a replay."""
        message = "instance %r: %s"
        instance = self._started.instance
        log_line(
            self.logger, logging.ERROR, message, instance, what, fields=self.fields, error=error
        )

    def never_awaited(self, task: asyncio.Task[object]) -> None:
        """Log that a task raised, and that nothing awaited it."""
        what = f"the exception of task {task.get_name()!r} was never awaited"
        self.unhandled(what, task.exception())

    def lost_in_cleanup(self, error: BaseException) -> None:
        """Log that the orchestration raised during its cleanup; it ends as cancelled."""
        self._warn(
            "instance %r raised %s while it cleaned up after its cancellation",
            type(error).__name__,
            error=error,
        )

    def attempt_failed(
        self, failure: ActivityFailed, attempt: int, after: str, *, last: bool
    ) -> None:
        """Log a failed attempt that the process of the activity could not log itself."""
        if self.is_silent:
            return
        log_line(
            activity_logger(failure.activity),
            logging.ERROR if last else logging.WARNING,
            "activity %r of instance %r failed in attempt %s: %s; %s%s",
            failure.activity,
            self._started.instance,
            attempt,
            failure.details.display_message(),
            after,
            trace_text(failure.details),
            fields={
                **self.fields,
                "perdure_activity": failure.activity,
                "perdure_attempt": attempt,
            },
        )

    def _warn(self, message: str, *args: object, error: BaseException | None = None) -> None:
        if not self.is_silent:
            log_line(
                self.logger,
                logging.WARNING,
                message,
                self._started.instance,
                *args,
                fields=self.fields,
                error=error,
            )
