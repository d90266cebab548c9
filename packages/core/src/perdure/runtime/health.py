"""What a runtime knows of the health of its storage: the last failure, and what fails now."""

from __future__ import annotations

from datetime import timedelta

from perdure.clock import Clock, Instant, to_microseconds
from perdure.errors import (
    HistoryConflict,
    LeaseLost,
    ProviderError,
    StorageCorrupt,
    TransactionRefused,
)
from perdure.model.record import record

_ANSWERS = (LeaseLost, HistoryConflict, TransactionRefused)
"""Refusals that a healthy storage gives."""
_RARE = frozenset(
    {
        "begin_transaction", "complete_in_transaction", "read_instance", "read_history",
        "release_turn", "release_activity", "roll_back",
    }
)  # fmt: skip
"""Calls that a runtime may not make again for long, so that no success follows a failure."""
_REMEMBERED = to_microseconds(timedelta(minutes=1))
"""How long a failed call counts if no later call of its kind tells more."""


@record
class FailedStorageCall:
    """A call of a runtime to its storage that failed."""

    at: Instant
    operation: str
    """The provider's method, such as `lease_turns`."""
    message: str


class StorageHealth:
    """Told of the calls of one runtime by its provider guard."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failing: dict[str, Instant] = {}
        """When the latest call of an operation failed; without those whose latest call did not."""
        self.last_error: FailedStorageCall | None = None
        """None as long as no call has failed."""

    @property
    def is_good(self) -> bool:
        """Whether no operation fails now."""
        now = self._clock.now()
        return not any(0 <= now - at < _REMEMBERED for at in self._failing.values())

    def succeeded(self, operation: str) -> None:
        """The storage has answered."""
        if self._failing:
            self._failing.pop(operation, None)

    def failed(self, operation: str, error: ProviderError) -> None:
        """The call has raised."""
        if isinstance(error, _ANSWERS):
            self.succeeded(operation)
            return
        now = self._clock.now()
        self.last_error = FailedStorageCall(at=now, operation=operation, message=str(error))
        # Damage of one instance says nothing of the others.
        if operation not in _RARE and not isinstance(error, StorageCorrupt):
            self._failing[operation] = now
