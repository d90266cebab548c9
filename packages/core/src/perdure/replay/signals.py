"""What replay raises, and the signal that ends a run from within the user's code."""

from __future__ import annotations

from perdure.errors import PerdureError


class ExecutionEnded(BaseException):  # a signal, not an error
    """Unwinds the orchestration after its end was decided; nothing depends on its arrival."""


class HistoryMismatch(PerdureError):
    """The code disagrees with the history; the message names event, expected, found and line."""

    def __init__(
        self, message: str, *, event_id: int, expected: str, found: str, where: str
    ) -> None:
        super().__init__(message)
        self.event_id = event_id
        self.expected = expected
        """What the history has."""
        self.found = found
        """What the code asked for."""
        self.where = where
        """Module, line and function in the user's code."""


class ForbiddenUse(PerdureError):
    """The code used what an orchestration must not, or awaits what nothing durable can bring.

    Its turn is given up, whatever the code made of the refusal.
    """


class UndecodableData(PerdureError):
    """A stored event or message cannot be decoded; it is kept as it is."""
