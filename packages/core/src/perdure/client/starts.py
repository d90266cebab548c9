"""Starting: the methods of a client that create instances, and handles of instances that exist.

What they have in common, beside the orchestration and its input, stands in `start_options`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Never, ParamSpec, TypeVar, Unpack, overload

from perdure.client.any_loop import on_any_loop
from perdure.client.creating import create
from perdure.client.handle import Handle
from perdure.client.part import ClientPart
from perdure.client.start_options import StartOptions, check_options, with_headers_of_hooks
from perdure.client.starting import (
    Orchestration,
    Start,
    WithInput,
    WithoutInput,
    check_start_version,
    result_type_of,
    start_of_call,
    start_of_text,
    start_of_value,
)
from perdure.contract.provider import Provider
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.identifiers import check_identifier
from perdure.providers.plugins import create_plugin_manager

if TYPE_CHECKING:
    from perdure.client.starting import R_object

I = TypeVar("I")  # noqa: E741 # the input
P = ParamSpec("P")
R = TypeVar("R")


class StartingClient(ClientPart):
    """The methods that start instances."""

    def __init__(self, provider: Provider, plugins: Sequence[object]) -> None:
        super().__init__(provider)
        self._plugins = create_plugin_manager(plugins) if plugins else None

    @overload
    async def start_orchestration(
        self,
        instance: str,
        orchestration: str,
        input: str | None = None,
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Handle[object]: ...
    @overload
    async def start_orchestration(
        self,
        instance: str,
        orchestration: WithInput[I, R],
        input: I,
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Handle[R]: ...
    @overload
    async def start_orchestration(
        self,
        instance: str,
        orchestration: WithoutInput[R],
        input: None = None,
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Handle[R]: ...
    @on_any_loop
    async def start_orchestration(
        self,
        instance: str,
        orchestration: Orchestration,
        input: object = None,
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Handle[object]:
        """Start an orchestration under an id; the start is durable when the call returns.

        `orchestration` is the registered function; then `input` is its first argument after the
        context, and `start` passes several. Or it is a registered name; then `input` is JSON text
        or None: the value of the one parameter, or an object by the names of several.

        Without `version`, the first runtime that runs the instance chooses the newest version that
        it registers; with one, such as `"1.4.0"`, exactly that version runs. The other options are
        those of `StartOptions`: `if_exists`, `start_at`, `delay`, `labels` and `headers`. All starts
        take them.

        Raises `InstanceAlreadyExists` without a change if the id is in use, by an instance in any
        state, unless `if_exists` says otherwise. Safe to retry after a lost response; at worst it
        raises `InstanceAlreadyExists`. `CapabilityMissing` names what the provider lacks for an option.
        """
        chosen = None if version is None else check_start_version(version)
        return await self._start(instance, start_of_text(orchestration, input), chosen, options)

    @on_any_loop
    async def start_orchestration_versioned(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]],
        version: str,
        input: object = None,
        **options: Unpack[StartOptions],
    ) -> Handle[R_object]:
        """The same as `start_orchestration(instance, orchestration, input, version=version)`."""
        chosen = check_start_version(version)
        return await self._start(instance, start_of_text(orchestration, input), chosen, options)

    @on_any_loop
    async def start_orchestration_typed(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]],
        input: object = None,
        **options: Unpack[StartOptions],
    ) -> Handle[R_object]:
        """Like `start_orchestration`, but `input` is a value also with a name.

        The value is anything that pydantic encodes; otherwise `InvalidPayload` names its type.
        With a function, a type checker sees the result, but not whether the input fits: pass
        functions to `start` or `start_orchestration`.
        """
        return await self._start(instance, start_of_value(orchestration, input), None, options)

    @on_any_loop
    async def start_orchestration_versioned_typed(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]],
        version: str,
        input: object = None,
        **options: Unpack[StartOptions],
    ) -> Handle[R_object]:
        """Like `start_orchestration_typed`, pinned to exactly this version."""
        chosen = check_start_version(version)
        return await self._start(instance, start_of_value(orchestration, input), chosen, options)

    def start(
        self,
        instance: str,
        orchestration: Callable[Concatenate[Never, P], Awaitable[R]],
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Callable[P, Coroutine[Any, Any, Handle[R]]]:
        """A start, to be called with the orchestration's own arguments.

        `client.start("order-1", process)(order, cents=500)` starts `process`, and answers, as
        `start_orchestration` does. It is a call of its own so that a type checker sees the
        parameters of the function; a dictionary by their names, which `start_orchestration_typed`
        takes with a name, would hide a misspelled one until the call. An argument that is left
        out takes its default in the orchestration; it is not stored.
        """

        async def start(*args: P.args, **kwargs: P.kwargs) -> Handle[R]:
            return await self._start_call(instance, orchestration, args, kwargs, version, options)

        return start

    def get_handle(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]] | None = None,
    ) -> Handle[R_object]:
        """A handle of an instance by its id; it reads nothing, and the instance need not exist.

        With the registered function, the handle has the type of its result.
        """
        refuse_inside_orchestration("get_handle", "use ctx.schedule_sub_orchestration")
        check_identifier(instance, "instance id")
        return self._handle(instance, result_type_of(orchestration))

    @on_any_loop
    async def _start_call(
        self,
        instance: str,
        orchestration: object,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        version: str | None,
        options: StartOptions,
    ) -> Handle[Any]:
        chosen = None if version is None else check_start_version(version)
        return await self._start(
            instance, start_of_call(orchestration, args, kwargs), chosen, options
        )

    async def _start(
        self, instance: str, start: Start, version: str | None, options: StartOptions
    ) -> Handle[Any]:
        refuse_inside_orchestration(
            "start_orchestration",
            "use ctx.schedule_orchestration or ctx.schedule_sub_orchestration",
        )
        checked = check_options(options, self._provider.clock)
        check_identifier(instance, "instance id")
        headers = self._headers(checked.headers, instance, start.name)
        new = start.as_instance(
            instance, version, start_at=checked.start_at, labels=checked.labels, headers=headers
        )
        is_new = await create(self._provider, new, checked.if_exists)
        return self._handle(instance, start.result_type, is_new=is_new)

    def _headers(self, headers: Mapping[str, str], instance: str, name: str) -> Mapping[str, str]:
        if self._plugins is None:
            return headers
        return with_headers_of_hooks(headers, self._plugins, instance, name)

    def _handle(self, instance: str, result_type: object, *, is_new: bool = False) -> Handle[Any]:
        """A handle of this client; a client with waits of its own gives its own."""
        return Handle(self._provider, instance, result_type, is_new=is_new)
