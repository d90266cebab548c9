"""The client: any process that opens the storage starts and controls instances with it.

A client holds a provider and nothing else: no cache, no connection and no task. Many clients may
share a provider, and many tasks, event loops and threads may share a client. It never runs an
orchestration.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Never, ParamSpec, TypeVar, cast, overload

from perdure.client import calls
from perdure.client.any_loop import on_any_loop
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
    """Starts, watches and controls the instances that a provider stores.

    Every argument is checked before anything is stored: `InvalidInput` says what is wrong. Every
    failure of the storage is a `ProviderError`. A retryable one is retried up to twice under the
    same ids, after about 50 and 100 ms. If it is raised then, the call may or may not have taken
    effect, and you can safely repeat it.

    You can call a client from any event loop of the process: the call runs on the provider's loop,
    and cancellation and timeouts work as on that loop. Once the provider is closed, every call raises
    `ClientUnusable`. Inside an orchestration every call raises `ForbiddenInOrchestration`.

    A cancelled call takes effect completely or not at all.
    """

    def __init__(self, provider: Provider) -> None:
        super().__init__(check_provider(provider))

    @property
    def provider(self) -> Provider:
        """The provider of this client."""
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

        Without `version`, the first runtime that runs the instance chooses the newest version that
        it registers; with one, such as `"1.4.0"`, exactly that version runs.

        Raises `InstanceAlreadyExists` without a change if the id is in use, by an instance in any
        state. Safe to retry after a lost response; at worst it raises `InstanceAlreadyExists`.
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
        """Like `start_orchestration`, but `input` is a value also with a name.

        The value is anything that pydantic encodes; otherwise `InvalidPayload` names its type.
        With a function, a type checker sees the result, but not whether the input fits: pass
        functions to `start` or `start_orchestration`.
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
        """Like `start_orchestration_typed`, pinned to exactly this version."""
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
        """Raise an external event; it is durable when the call returns.

        `data` is JSON text or None. Events are matched with waits by name, in the order of arrival;
        each event goes to one wait. The event is kept if the instance does not wait for it yet, or
        does not exist yet. An instance that has ended ignores it.

        An instance takes an event with a given `event_id` once; without one, each call raises a new
        event.
        """
        await calls.raise_event(self._provider, instance, name, data, event_id)

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
        return await wait_for_status(self._provider, instance, timeout)

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
