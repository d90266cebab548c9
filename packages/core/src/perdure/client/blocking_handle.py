"""A handle for code without an event loop."""

from __future__ import annotations

from datetime import timedelta
from typing import Generic, TypeVar

from perdure.client.blocking_calls import Caller, documented_by
from perdure.client.calls import DEFAULT_REASON
from perdure.client.handle import Handle
from perdure.model.status import Completed, EventArrival, Failed, OrchestrationStatus

R_co = TypeVar("R_co", covariant=True)


@documented_by(Handle)
class BlockingHandle(Generic[R_co]):
    """A started instance, whose result is an `R_co`; its methods block."""

    __slots__ = ("_caller", "_handle")

    def __init__(self, caller: Caller, handle: Handle[R_co]) -> None:
        self._caller = caller
        self._handle = handle

    @property
    def instance(self) -> str:
        """The id of the instance."""
        return self._handle.instance

    def status(self) -> OrchestrationStatus:
        return self._caller.run(self._handle.status)

    def wait(self, timeout: timedelta | float | None = None) -> Completed | Failed:
        return self._caller.run(self._handle.wait, timeout)

    def result(self, timeout: timedelta | float | None = None) -> R_co:
        return self._caller.run(self._handle.result, timeout)

    def raise_event(
        self, name: str, data: str | None = None, *, event_id: str | None = None
    ) -> EventArrival:
        return self._caller.run(self._handle.raise_event, name, data, event_id=event_id)

    def raise_event_typed(
        self, name: str, value: object = None, *, event_id: str | None = None
    ) -> EventArrival:
        return self._caller.run(self._handle.raise_event_typed, name, value, event_id=event_id)

    def cancel(self, reason: str = DEFAULT_REASON) -> None:
        self._caller.run(self._handle.cancel, reason)

    def __repr__(self) -> str:
        return f"<BlockingHandle of {self._handle!r}>"
