"""The client: any process that opens the storage can start, watch and steer instances with it.

It holds a provider and nothing else: no cache, no connection, no task of its own. Many may share
a provider, and one may serve many tasks, event loops and threads of the process at once. It never
runs an orchestration.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar, overload

from perdure.client import calls
from perdure.client.carrying import on_any_loop
from perdure.client.handle import Handle
from perdure.client.management import ManagementClient
from perdure.client.outcome import result_of, wait_for_status
from perdure.client.starting import (
    Orchestration,
    Start,
    WithInput,
    WithoutInput,
    start_of_text,
    start_of_value,
)
from perdure.contract.provider import Provider, check_provider
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.payload import check_annotation
from perdure.model.status import Completed, Failed, OrchestrationStatus
from perdure.model.versions import check_version

I = TypeVar("I")  # noqa: E741 # the input
R = TypeVar("R")


class Client(ManagementClient):
    """Starts, watches and steers the instances that a provider stores.

    All input is checked before anything is stored: `InvalidInput` says what is wrong with it.
    Every failure of the storage is a `ProviderError`. One that is retryable is met with up to two
    repeats under the same ids, about 50 and 100 ms apart, before it reaches the caller; then it
    is unknown whether the call took effect, and it may be made again.
    Calls may come from any event loop of the process: one from another loop than the provider's
    is made there, and its answer, its cancellation and its timeout are carried. Once the provider
    is closed, every call raises `ClientUnusable`.

    Inside an orchestration every call raises `ForbiddenInOrchestration`.
    Cancelling a call leaves it carried out as a whole or not at all.
    """

    def __init__(self, provider: Provider) -> None:
        super().__init__(check_provider(provider))

    @property
    def provider(self) -> Provider:
        """The provider that it reaches instances through."""
        return self._provider

    @overload
    async def start_orchestration(
        self, instance: str, orchestration: str, input: str | None = None
    ) -> Handle[object]: ...
    @overload
    async def start_orchestration(
        self, instance: str, orchestration: WithInput[I, R], input: I
    ) -> Handle[R]: ...
    @overload
    async def start_orchestration(
        self, instance: str, orchestration: WithoutInput[R], input: None = None
    ) -> Handle[R]: ...
    @on_any_loop
    async def start_orchestration(
        self, instance: str, orchestration: Orchestration, input: object = None
    ) -> Handle[object]:
        """Start an orchestration under an id; the start is durable when the call returns.

        `orchestration` is a registered name, then `input` is JSON text or None; or it is the
        registered function itself, then `input` is a value of the type that it asks for. Either
        way the newest version runs, of those registered in the runtime that first runs it.

        Raises `InstanceAlreadyExists` where the id is in use, in whatever state; nothing changes
        then. Repeated after an answer that was lost, it says `InstanceAlreadyExists` at worst.
        """
        return await self._start(instance, start_of_text(orchestration, input), None)

    @overload
    async def start_orchestration_versioned(
        self, instance: str, orchestration: str, input: str | None, version: str
    ) -> Handle[object]: ...
    @overload
    async def start_orchestration_versioned(
        self, instance: str, orchestration: WithInput[I, R], input: I, version: str
    ) -> Handle[R]: ...
    @overload
    async def start_orchestration_versioned(
        self, instance: str, orchestration: WithoutInput[R], input: None, version: str
    ) -> Handle[R]: ...
    @on_any_loop
    async def start_orchestration_versioned(
        self, instance: str, orchestration: Orchestration, input: object, version: str
    ) -> Handle[object]:
        """As `start_orchestration`, pinned to exactly this version, such as `"1.4.0"`."""
        start = start_of_text(orchestration, input)
        return await self._start(instance, start, check_version(version))

    @overload
    async def start_orchestration_typed(
        self, instance: str, orchestration: str, input: object = None
    ) -> Handle[object]: ...
    @overload
    async def start_orchestration_typed(
        self, instance: str, orchestration: WithInput[I, R], input: I
    ) -> Handle[R]: ...
    @overload
    async def start_orchestration_typed(
        self, instance: str, orchestration: WithoutInput[R], input: None = None
    ) -> Handle[R]: ...
    @on_any_loop
    async def start_orchestration_typed(
        self, instance: str, orchestration: Orchestration, input: object = None
    ) -> Handle[object]:
        """As `start_orchestration`, with a value as input also where a name is given.

        The value is anything that pydantic encodes; `InvalidPayload` names the type of one that
        it does not.
        """
        return await self._start(instance, start_of_value(orchestration, input), None)

    @overload
    async def start_orchestration_versioned_typed(
        self, instance: str, orchestration: str, input: object, version: str
    ) -> Handle[object]: ...
    @overload
    async def start_orchestration_versioned_typed(
        self, instance: str, orchestration: WithInput[I, R], input: I, version: str
    ) -> Handle[R]: ...
    @overload
    async def start_orchestration_versioned_typed(
        self, instance: str, orchestration: WithoutInput[R], input: None, version: str
    ) -> Handle[R]: ...
    @on_any_loop
    async def start_orchestration_versioned_typed(
        self, instance: str, orchestration: Orchestration, input: object, version: str
    ) -> Handle[object]:
        """As `start_orchestration_typed`, pinned to exactly this version."""
        start = start_of_value(orchestration, input)
        return await self._start(instance, start, check_version(version))

    @on_any_loop
    async def raise_event(
        self, instance: str, name: str, data: str | None = None, *, event_id: str | None = None
    ) -> None:
        """Raise an external event; durable when the call returns.

        `data` is JSON text or None. The event is matched with waits by name alone, in the order
        of arrival, each event with one wait. It is kept where the instance does not wait for it
        yet, or does not exist yet; to an instance that has ended it is ignored.

        An event whose `event_id` the instance has received already counts once; without one,
        each call raises an event of its own.
        """
        await calls.raise_event(self._provider, instance, name, data, event_id)

    @on_any_loop
    async def cancel_instance(self, instance: str, reason: str = calls.DEFAULT_REASON) -> None:
        """Ask an instance to end; durable when the call returns.

        It then ends as `Failed`, kind cancelled, with the message "canceled: REASON", after its
        cleanup; its children are cancelled too. A parked one ends without its code, where that
        cannot go on, at its next try, at most 30 seconds later. An unknown instance, and one
        that has ended, is left alone; asking twice is asking once, and the first reason counts.
        """
        await calls.cancel(self._provider, instance, reason)

    @on_any_loop
    async def get_orchestration_status(self, instance: str) -> OrchestrationStatus:
        """`NotFound`, `Running`, `Completed` or `Failed`, of the newest execution.

        An instance that was started and has not run yet is `Running`.
        """
        return await calls.read_status(self._provider, instance)

    @on_any_loop
    async def wait_for_orchestration(
        self, instance: str, timeout: timedelta | float | None = None
    ) -> Completed | Failed:
        """Wait until the instance has ended; it need not exist yet.

        `timeout` is a `timedelta` or seconds, measured on the provider's clock; None waits for
        ever. Raises `WaitTimeout`, also a `TimeoutError`, which says whether the instance exists
        and why it does not move, and `InvalidDuration`. Looks at once, however short the timeout;
        a look under way is finished first. Retryable errors of the storage are waited out.
        """
        return await wait_for_status(self._provider, instance, timeout)

    @overload
    async def wait_for_orchestration_typed(
        self, instance: str, result_type: type[R], timeout: timedelta | float | None = None
    ) -> R: ...
    @overload
    async def wait_for_orchestration_typed(
        self, instance: str, result_type: object, timeout: timedelta | float | None = None
    ) -> object: ...
    @on_any_loop
    async def wait_for_orchestration_typed(
        self, instance: str, result_type: object, timeout: timedelta | float | None = None
    ) -> object:
        """As `wait_for_orchestration`, and return the output as a value of this type.

        Raises `OrchestrationFailed` with the details where the instance failed, and
        `InvalidPayload` where the output does not fit the type.
        """
        check_annotation(result_type, "result_type")
        status = await self.wait_for_orchestration(instance, timeout)
        return result_of(instance, status, result_type)

    async def _start(self, instance: str, start: Start, version: str | None) -> Handle[Any]:
        refuse_inside_orchestration(
            "start_orchestration",
            "use ctx.schedule_orchestration or ctx.schedule_sub_orchestration",
        )
        await calls.create(self._provider, start.as_instance(instance, version))
        return Handle(self._provider, instance, start.result_type)

    def __repr__(self) -> str:
        return f"<Client of {self._provider.description}>"
