"""A handle: one instance, with the type of its result.

It is an id, a provider and a type; it keeps nothing else, and any number of them may stand for
the same instance.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Generic, TypeVar, cast

from perdure.client import calls
from perdure.client.carrying import on_any_loop
from perdure.client.outcome import result_of, wait_for_status
from perdure.contract.provider import Provider
from perdure.model.status import Completed, Failed, OrchestrationStatus

R_co = TypeVar("R_co", covariant=True)


class Handle(Generic[R_co]):
    """One instance that was started, whose result is an `R_co`."""

    __slots__ = ("_instance", "_provider", "_result_type")

    def __init__(self, provider: Provider, instance: str, result_type: object) -> None:
        self._provider = provider
        self._instance = instance
        self._result_type = result_type

    @property
    def instance(self) -> str:
        """The id that it was started under."""
        return self._instance

    @on_any_loop
    async def status(self) -> OrchestrationStatus:
        """As `Client.get_orchestration_status`."""
        return await calls.read_status(self._provider, self._instance)

    @on_any_loop
    async def wait(self, timeout: timedelta | float | None = None) -> Completed | Failed:
        """As `Client.wait_for_orchestration`."""
        return await wait_for_status(self._provider, self._instance, timeout)

    @on_any_loop
    async def result(self, timeout: timedelta | float | None = None) -> R_co:
        """Wait, and return the decoded output.

        Raises `OrchestrationFailed` with the details where the instance failed, `WaitTimeout`
        where it did not end in time, `InvalidPayload` where the output does not fit the type.
        """
        status = await self.wait(timeout)
        return cast("R_co", result_of(self._instance, status, self._result_type))

    @on_any_loop
    async def raise_event(
        self, name: str, data: str | None = None, *, event_id: str | None = None
    ) -> None:
        """As `Client.raise_event`."""
        await calls.raise_event(self._provider, self._instance, name, data, event_id)

    @on_any_loop
    async def cancel(self, reason: str = calls.DEFAULT_REASON) -> None:
        """As `Client.cancel_instance`."""
        await calls.cancel(self._provider, self._instance, reason)

    def __repr__(self) -> str:
        return f"<Handle {self._instance!r} on {self._provider.description}>"
