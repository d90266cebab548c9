"""A handle: one instance, with the type of its result.

It consists of an id, a provider and a type. Any number of handles may refer to one instance.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Generic, TypeVar, cast

from perdure.client import calls
from perdure.client.any_loop import on_any_loop
from perdure.client.outcome import final_status, result_of, wait_for_end
from perdure.contract.provider import Provider
from perdure.model.status import Completed, EventArrival, Failed, OrchestrationStatus
from perdure.records.instances import InstanceState

R_co = TypeVar("R_co", covariant=True)


class Handle(Generic[R_co]):
    """A started instance, whose result is an `R_co`."""

    __slots__ = ("_instance", "_is_new", "_provider", "_result_type")

    def __init__(
        self, provider: Provider, instance: str, result_type: object, *, is_new: bool = False
    ) -> None:
        self._provider = provider
        self._instance = instance
        self._result_type = result_type
        self._is_new = is_new
        """Whether it comes from the start that made the instance, of which nothing was asked yet."""

    @property
    def instance(self) -> str:
        """The id of the instance."""
        return self._instance

    @on_any_loop
    async def status(self) -> OrchestrationStatus:
        """Like `Client.get_orchestration_status`."""
        return await calls.read_status(self._provider, self._instance)

    @on_any_loop
    async def wait(self, timeout: timedelta | float | None = None) -> Completed | Failed:
        """Like `Client.wait_for_orchestration`."""
        return final_status(await self._wait_for_end(timeout))

    @on_any_loop
    async def result(self, timeout: timedelta | float | None = None) -> R_co:
        """Wait until the instance has ended, and return its decoded output.

        Raises `OrchestrationFailed` with the details if the instance failed, `WaitTimeout` if it did
        not end in time, and `InvalidPayload` if the output does not fit the type. `timeout` is a
        `timedelta` or seconds.
        """
        state = await self._wait_for_end(timeout)
        return cast("R_co", result_of(state, self._result_type))

    @on_any_loop
    async def raise_event(
        self, name: str, data: str | None = None, *, event_id: str | None = None
    ) -> EventArrival:
        """Like `Client.raise_event`."""
        return await calls.raise_event(self._provider, self._instance, name, data, event_id)

    @on_any_loop
    async def raise_event_typed(
        self, name: str, value: object = None, *, event_id: str | None = None
    ) -> EventArrival:
        """Like `Client.raise_event_typed`."""
        return await calls.raise_event_typed(self._provider, self._instance, name, value, event_id)

    @on_any_loop
    async def cancel(self, reason: str = calls.DEFAULT_REASON) -> None:
        """Like `Client.cancel_instance`."""
        await calls.cancel(self._provider, self._instance, reason)

    async def _wait_for_end(self, timeout: timedelta | float | None) -> InstanceState:
        """The state once the instance has ended; a test lets time pass meanwhile."""
        is_new, self._is_new = self._is_new, False
        return await wait_for_end(self._provider, self._instance, timeout, just_started=is_new)

    def __repr__(self) -> str:
        return f"<Handle {self._instance!r} on {self._provider.description}>"
