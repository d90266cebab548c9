"""The client for code without an event loop: Django, Flask, scripts, threads beside a loop.

It has the methods of `Client` under the same names, each of which blocks until it has its result. A
`Client` on the provider's loop does the work; if the blocking client opened the provider, that loop
runs in a thread of its own. All promises and checks are those of `Client`, apart from closing and
forking.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Never,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from perdure.client.blocking_calls import HasClient, blocking, documented_by, like
from perdure.client.blocking_handle import BlockingHandle
from perdure.client.blocking_watch import BlockingWatch
from perdure.client.client import Client
from perdure.client.handle import Handle
from perdure.client.loop_thread import LoopThread
from perdure.client.start_options import StartOptions
from perdure.client.starting import Orchestration, WithInput, WithoutInput
from perdure.contract.provider import Provider

if TYPE_CHECKING:
    from pydantic import BaseModel

    from perdure.client.starting import R_object
    from perdure.codecs.codec import PayloadCodec

I = TypeVar("I")  # noqa: E741 # the input
R = TypeVar("R")
P = ParamSpec("P")


def _starting(
    method: Callable[Concatenate[Client, P], Coroutine[Any, Any, Handle[R]]],
) -> Callable[Concatenate[HasClient, P], BlockingHandle[R]]:
    """A method that starts an instance, and returns a blocking handle of it."""

    def call(self: HasClient, *args: P.args, **kwargs: P.kwargs) -> BlockingHandle[R]:
        handle = self._caller.run(method, self._client, *args, **kwargs)  # pyright: ignore[reportPrivateUsage] # of the class that this is a method of
        return BlockingHandle(self._caller, handle)  # pyright: ignore[reportPrivateUsage] # as above

    return like(method, call)


@documented_by(Client)
class BlockingClient(HasClient):
    """The methods of `Client`, for code without an event loop: each call blocks.

    `BlockingClient.open(url)` opens a provider of its own; `BlockingClient(provider)` and
    `BlockingClient(client)` use one that is open already. Any number of threads may share a client.
    Every call raises `ClientUnusable` once the client or the provider is closed, in a fork of the
    process that opened the provider, and in the thread of the provider's event loop. An interrupt
    cancels the blocked call. Timeouts are measured on the provider's clock.
    """

    def __init__(self, source: Provider | Client) -> None:
        """A client of a provider that is open already, or of the provider of another client.

        The event loop that opened the provider makes the calls, so it must be running, in another
        thread than the caller's. Closing this client leaves the provider open.
        """
        super().__init__(source if isinstance(source, Client) else Client(source))
        self._thread: LoopThread | None = None

    @classmethod
    def open(
        cls,
        url_or_options: str | BaseModel,
        *,
        plugins: Sequence[object] = (),
        codec: PayloadCodec | Sequence[PayloadCodec] = (),
    ) -> Self:
        """Open a provider by its URL or options, as `open_provider` does, on a thread of its own.

        The plugins are those of the provider and of the client. Close it with `close`, or use it as a
        context manager.
        """
        from perdure.providers.loader import (
            open_provider,  # the loader is not needed by other clients
        )

        thread = LoopThread(lambda: open_provider(url_or_options, plugins=plugins, codec=codec))
        client = cls(Client(thread.provider, plugins=plugins))
        client._thread = thread
        return client

    def close(self) -> None:
        """Close the client, and the provider if this client opened it.

        Calls under way on the closed provider raise `ClientUnusable`, and so do later calls. Closing
        again has no effect, and neither has closing in a fork.
        """
        if self._thread is not None:
            self._thread.close()
        self._caller.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @overload
    def start_orchestration(
        self,
        instance: str,
        orchestration: str,
        input: str | None = None,
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> BlockingHandle[object]: ...
    @overload
    def start_orchestration(
        self,
        instance: str,
        orchestration: WithInput[I, R],
        input: I,
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> BlockingHandle[R]: ...
    @overload
    def start_orchestration(
        self,
        instance: str,
        orchestration: WithoutInput[R],
        input: None = None,
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> BlockingHandle[R]: ...
    def start_orchestration(
        self,
        instance: str,
        orchestration: Orchestration,
        input: object = None,
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> BlockingHandle[object]:
        start = cast("Callable[..., Awaitable[Handle[object]]]", self._client.start_orchestration)
        return self._handle(start, instance, orchestration, input, version=version, **options)

    start_orchestration_versioned = _starting(Client.start_orchestration_versioned)
    start_orchestration_typed = _starting(Client.start_orchestration_typed)
    start_orchestration_versioned_typed = _starting(Client.start_orchestration_versioned_typed)

    def start(
        self,
        instance: str,
        orchestration: Callable[Concatenate[Never, P], Awaitable[R]],
        *,
        version: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Callable[P, BlockingHandle[R]]:
        call = self._client.start(instance, orchestration, version=version, **options)

        def start(*args: P.args, **kwargs: P.kwargs) -> BlockingHandle[R]:
            return self._handle(call, *args, **kwargs)

        return start

    def get_handle(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]] | None = None,
    ) -> BlockingHandle[R_object]:
        self._caller.check()
        return BlockingHandle(self._caller, self._client.get_handle(instance, orchestration))

    fork_instance = _starting(Client.fork_instance)
    retry_instance = blocking(Client.retry_instance)
    retry_instances = blocking(Client.retry_instances)
    rewind_instance = blocking(Client.rewind_instance)
    terminate_instance = blocking(Client.terminate_instance)

    delete_instance = blocking(Client.delete_instance)
    delete_instances = blocking(Client.delete_instances)
    prune_executions = blocking(Client.prune_executions)
    delete_early_events = blocking(Client.delete_early_events)
    delete_namespace = blocking(Client.delete_namespace)

    list_instances = blocking(Client.list_instances)
    get_instance_tree = blocking(Client.get_instance_tree)
    describe_instance = blocking(Client.describe_instance)

    def watch_instance(self, instance: str) -> BlockingWatch:
        self._caller.check()
        return BlockingWatch(self._caller, self._client.watch_instance(instance))

    get_value = blocking(Client.get_value)
    get_values = blocking(Client.get_values)
    wait_for_value = blocking(Client.wait_for_value)
    wait_for_status_change = blocking(Client.wait_for_status_change)

    raise_event = blocking(Client.raise_event)
    raise_event_typed = blocking(Client.raise_event_typed)
    cancel_instance = blocking(Client.cancel_instance)
    get_orchestration_status = blocking(Client.get_orchestration_status)
    wait_for_orchestration = blocking(Client.wait_for_orchestration)
    wait_for_orchestration_typed = blocking(Client.wait_for_orchestration_typed)

    def has_management_capability(self) -> bool:
        self._caller.check()
        return self._client.has_management_capability()

    list_all_instances = blocking(Client.list_all_instances)
    list_instances_by_status = blocking(Client.list_instances_by_status)
    get_instance_info = blocking(Client.get_instance_info)
    get_execution_info = blocking(Client.get_execution_info)
    list_executions = blocking(Client.list_executions)
    read_execution_history = blocking(Client.read_execution_history)
    export_history = blocking(Client.export_history)
    get_system_metrics = blocking(Client.get_system_metrics)
    get_queue_depths = blocking(Client.get_queue_depths)

    def __repr__(self) -> str:
        return f"<BlockingClient of {self._client.provider.description}>"

    def _handle(
        self, start: Callable[P, Awaitable[Handle[R]]], *args: P.args, **kwargs: P.kwargs
    ) -> BlockingHandle[R]:
        return BlockingHandle(self._caller, self._caller.run(start, *args, **kwargs))
