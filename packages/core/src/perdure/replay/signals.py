"""The errors that replay raises, and the signal that unwinds an orchestration at its end."""

from __future__ import annotations

from perdure.errors import ForbiddenInOrchestration, PerdureError
from perdure.replay.code_locations import WaitingTask


class ExecutionEnded(BaseException):  # a signal, not an error
    """Unwinds the orchestration after its end; nothing depends on whether the code catches it."""


class HistoryMismatch(PerdureError):
    """The code disagrees with the history; the message names the event, both sides and the line."""

    def __init__(
        self,
        message: str,
        *,
        event_id: int,
        expected: str,
        found: str,
        where: str,
        differs: str = "",
    ) -> None:
        super().__init__(message)
        self.event_id = event_id
        self.expected = expected
        """The command in the history."""
        self.found = found
        """The command of the code."""
        self.where = where
        """Module, line and function of the user's code."""
        self.differs = differs
        """If only a value differs: which, and at which path in it."""
        self.waiting: tuple[WaitingTask, ...] = ()
        """Where the tasks of the orchestration stood."""


class ForbiddenUse(PerdureError):
    """The code made a forbidden call, or awaits something that no durable event can complete.

    The turn is void, even if the code caught the refusal.
    """

    last_event: int = 0
    """The number of the last event before it."""
    error: ForbiddenInOrchestration | None = None
    """What the call raised, if it was a call."""


class UncaughtError(PerdureError):
    """The code raised an error that parks its instance; the turn is void.

    The message has the error and its trace.
    """


class UndecodableData(PerdureError):
    """A stored event or message cannot be decoded; it is kept unchanged."""
