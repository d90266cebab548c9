"""The client: any process that opens the storage starts and controls instances with it.

A client holds a provider and nothing else: no cache, no connection and no task. Many clients may
share a provider, and many tasks, event loops and threads may share a client. It never runs an
orchestration.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar, cast

from perdure.client import calls
from perdure.client.any_loop import on_any_loop
from perdure.client.deletion import DeletionClient
from perdure.client.describing import DescribingClient
from perdure.client.listing import ListingClient
from perdure.client.management import ManagementClient
from perdure.client.outcome import final_status, result_of, wait_for_end
from perdure.client.progress import ProgressClient
from perdure.client.recovery import RecoveryClient
from perdure.contract.provider import Provider, check_provider
from perdure.model.payload import check_annotation
from perdure.model.status import Completed, EventArrival, Failed, OrchestrationStatus
from perdure.records.instances import InstanceState

if TYPE_CHECKING:
    from typing_extensions import TypeForm

R = TypeVar("R")


class Client(
    RecoveryClient,
    DeletionClient,
    ListingClient,
    DescribingClient,
    ProgressClient,
    ManagementClient,
):
    """Starts, watches and controls the instances that a provider stores.

    Every argument is checked before anything is stored: `InvalidInput` says what is wrong. Every
    failure of the storage is a `ProviderError`. A retryable one is retried up to twice under the
    same ids, after about 50 and 100 ms. If it is raised then, the call may or may not have taken
    effect, and you can safely repeat it.

    You can call a client from any event loop of the process: the call runs on the provider's loop,
    and cancellation and timeouts work as on that loop. Once the provider is closed, every call raises
    `ClientUnusable`. Inside an orchestration every call raises `ForbiddenInOrchestration`.

    A cancelled call takes effect completely or not at all. A call on several instances, such as the
    deletion of a tree, does so for each of them: repeat it, and it goes on.
    """

    def __init__(self, provider: Provider, *, plugins: Sequence[object] = ()) -> None:
        """A client of an open provider; the hook `perdure_headers` of `plugins` adds to its starts."""
        super().__init__(check_provider(provider), plugins)

    @property
    def provider(self) -> Provider:
        """The provider of this client."""
        return self._provider

    @on_any_loop
    async def raise_event(
        self, instance: str, name: str, data: str | None = None, *, event_id: str | None = None
    ) -> EventArrival:
        """Raise an external event; it is durable when the call returns. Returns what it met.

        `data` is JSON text or None. Events are matched with waits by name, in the order of arrival;
        each event goes to one wait. The event is kept if the instance does not wait for it yet, or
        does not exist yet. An instance that has ended ignores it. What it met is as of just before
        the event was stored.

        An instance takes an event with a given `event_id` once; without one, each call raises a new
        event.
        """
        return await calls.raise_event(self._provider, instance, name, data, event_id)

    @on_any_loop
    async def raise_event_typed(
        self, instance: str, name: str, value: object = None, *, event_id: str | None = None
    ) -> EventArrival:
        """Like `raise_event`, but with a value that pydantic encodes instead of JSON text."""
        return await calls.raise_event_typed(self._provider, instance, name, value, event_id)

    @on_any_loop
    async def cancel_instance(self, instance: str, reason: str = calls.DEFAULT_REASON) -> None:
        """Ask an instance to end; the request is durable when the call returns.

        The instance ends as `Failed`, kind cancelled, with the message "canceled: REASON", after its
        cleanup; its children are cancelled too. A parked instance whose code cannot continue ends
        at once, without its code. The call has no effect on an
        instance that is unknown or has ended, even on a later instance with that id. If you call it
        twice, the first reason counts.
        """
        await calls.cancel(self._provider, instance, reason)

    @on_any_loop
    async def get_orchestration_status(self, instance: str) -> OrchestrationStatus:
        """The status of the newest execution: `NotFound`, `Running`, `Completed` or `Failed`.

        An instance that has not run yet is `Running`.
        """
        return await calls.read_status(self._provider, instance)

    @on_any_loop
    async def wait_for_orchestration(
        self, instance: str, timeout: timedelta | float | None = None
    ) -> Completed | Failed:
        """Wait until the instance has ended; it need not exist yet.

        `timeout` is a `timedelta` or seconds, measured on the provider's clock; None waits without
        limit. Raises `WaitTimeout`, which is also a `TimeoutError` and says whether the instance
        exists and whether it is parked, and `InvalidDuration`. Even with the shortest timeout it reads
        the instance once. Retryable errors of the storage are retried until the timeout.
        """
        return final_status(await self._wait_for_end(instance, timeout))

    @on_any_loop
    async def wait_for_orchestration_typed(
        self, instance: str, result_type: TypeForm[R], timeout: timedelta | float | None = None
    ) -> R:
        """Like `wait_for_orchestration`, but return the output as a value of this type.

        A type is anything that pydantic decodes: a class, `list[Order]`, a union.
        Raises `OrchestrationFailed` with the details if the instance failed, and `InvalidPayload` if
        the output does not fit the type.
        """
        check_annotation(result_type, "result_type")
        return cast("R", result_of(await self._wait_for_end(instance, timeout), result_type))

    async def _wait_for_end(
        self, instance: str, timeout: timedelta | float | None
    ) -> InstanceState:
        return await self._waiting(
            instance, timeout, lambda limit: wait_for_end(self._provider, instance, limit)
        )

    def __repr__(self) -> str:
        return f"<Client of {self._provider.description}>"
