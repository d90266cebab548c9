"""The client: any process that opens the storage can start, watch and steer instances with it.

It holds a provider and nothing else: no cache, no connection, no task of its own. Many may share
a provider, and one may serve many tasks, event loops and threads of the process at once. It never
runs an orchestration.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Never, ParamSpec, TypeVar, cast, overload

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
    check_start_version,
    start_of_call,
    start_of_text,
    start_of_value,
)
from perdure.contract.provider import Provider, check_provider
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.payload import check_annotation
from perdure.model.status import Completed, Failed, OrchestrationStatus

if TYPE_CHECKING:
    from typing_extensions import TypeForm

    from perdure.client.starting import R_object

I = TypeVar("I")  # noqa: E741 # the input
P = ParamSpec("P")
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
        self,
        instance: str,
        orchestration: str,
        input: str | None = None,
        *,
        version: str | None = None,
    ) -> Handle[object]: ...
    @overload
    async def start_orchestration(
        self,
        instance: str,
        orchestration: WithInput[I, R],
        input: I,
        *,
        version: str | None = None,
    ) -> Handle[R]: ...
    @overload
    async def start_orchestration(
        self,
        instance: str,
        orchestration: WithoutInput[R],
        input: None = None,
        *,
        version: str | None = None,
    ) -> Handle[R]: ...
    @on_any_loop
    async def start_orchestration(
        self,
        instance: str,
        orchestration: Orchestration,
        input: object = None,
        *,
        version: str | None = None,
    ) -> Handle[object]:
        """Start an orchestration under an id; the start is durable when the call returns.

        `orchestration` is the registered function; then `input` is its first argument after the
        context, and `start` passes several. Or it is a registered name; then `input` is JSON text
        or None: the value of the one parameter, or an object by the names of several.

        Without `version`, the newest version runs, of those registered in the runtime that first
        runs it; with one, such as `"1.4.0"`, exactly that version.

        Raises `InstanceAlreadyExists` where the id is in use, in whatever state; nothing changes
        then. Safe to repeat after a lost answer; at worst it raises `InstanceAlreadyExists`.
        """
        chosen = None if version is None else check_start_version(version)
        return await self._start(instance, start_of_text(orchestration, input), chosen)

    @on_any_loop
    async def start_orchestration_versioned(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]],
        version: str,
        input: object = None,
    ) -> Handle[R_object]:
        """The same as `start_orchestration(instance, orchestration, input, version=version)`."""
        chosen = check_start_version(version)
        return await self._start(instance, start_of_text(orchestration, input), chosen)

    @on_any_loop
    async def start_orchestration_typed(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]],
        input: object = None,
    ) -> Handle[R_object]:
        """As `start_orchestration`, with a value as input also where a name is given.

        The value is anything that pydantic encodes; `InvalidPayload` names the type of one that
        it does not.
        """
        return await self._start(instance, start_of_value(orchestration, input), None)

    @on_any_loop
    async def start_orchestration_versioned_typed(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]],
        version: str,
        input: object = None,
    ) -> Handle[R_object]:
        """As `start_orchestration_typed`, pinned to exactly this version."""
        chosen = check_start_version(version)
        return await self._start(instance, start_of_value(orchestration, input), chosen)

    def start(
        self,
        instance: str,
        orchestration: Callable[Concatenate[Never, P], Awaitable[R]],
        *,
        version: str | None = None,
    ) -> Callable[P, Coroutine[Any, Any, Handle[R]]]:
        """A start, to be called with the orchestration's own arguments.

        `client.start("order-1", process)(order, cents=500)` starts `process`, and answers, as
        `start_orchestration` does. It is a call of its own so that a type checker sees the
        parameters of the function; a dictionary by their names, which `start_orchestration_typed`
        takes with a name, would hide a misspelled one until the call. An argument that is left
        out takes its default in the orchestration; it is not stored.
        """

        async def start(*args: P.args, **kwargs: P.kwargs) -> Handle[R]:
            return await self._start_call(instance, orchestration, args, kwargs, version)

        return start

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

    @on_any_loop
    async def wait_for_orchestration_typed(
        self, instance: str, result_type: TypeForm[R], timeout: timedelta | float | None = None
    ) -> R:
        """As `wait_for_orchestration`, and return the output as a value of this type.

        A type is anything that pydantic decodes: a class, `list[Order]`, a union.
        Raises `OrchestrationFailed` with the details where the instance failed, and
        `InvalidPayload` where the output does not fit the type.
        """
        check_annotation(result_type, "result_type")
        status = await self.wait_for_orchestration(instance, timeout)
        return cast("R", result_of(instance, status, result_type))

    @on_any_loop
    async def _start_call(
        self,
        instance: str,
        orchestration: object,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        version: str | None,
    ) -> Handle[Any]:
        chosen = None if version is None else check_start_version(version)
        return await self._start(instance, start_of_call(orchestration, args, kwargs), chosen)

    async def _start(self, instance: str, start: Start, version: str | None) -> Handle[Any]:
        refuse_inside_orchestration(
            "start_orchestration",
            "use ctx.schedule_orchestration or ctx.schedule_sub_orchestration",
        )
        await calls.create(self._provider, start.as_instance(instance, version))
        return Handle(self._provider, instance, start.result_type)

    def __repr__(self) -> str:
        return f"<Client of {self._provider.description}>"
