"""The client for code without an event loop: Django, Flask, scripts, threads beside a loop.

It has the methods of `Client` under the same names, each of which blocks until it has its result. A
`Client` on the provider's loop does the work; if the blocking client opened the provider, that loop
runs in a thread of its own. All promises and checks are those of `Client`, apart from closing and
forking.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Concatenate,
    Generic,
    Never,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from perdure.client.calls import DEFAULT_REASON
from perdure.client.client import Client
from perdure.client.handle import Handle
from perdure.client.info import ExecutionInfo, InstanceInfo, QueueDepths, SystemMetrics
from perdure.client.loop_thread import LoopThread
from perdure.client.page import Page
from perdure.client.starting import Orchestration, WithInput, WithoutInput
from perdure.contract.event_loop import ProviderLoop
from perdure.contract.provider import Provider
from perdure.errors import ClientUnusable
from perdure.history import Event
from perdure.model.guards import refuse_inside_orchestration
from perdure.model.hidden_payload import Payloads
from perdure.model.status import Completed, Failed, OrchestrationStatus
from perdure.records.history_document import HistoryDocument
from perdure.records.instances import InstanceStatus

if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import TypeForm

    from perdure.client.starting import R_object

I = TypeVar("I")  # noqa: E741 # the input
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
C = TypeVar("C", bound=type)
P = ParamSpec("P")


def _documented_by(waited_for: type) -> Callable[[C], C]:
    """Give each method without a docstring the docstring of the method that it waits for."""

    def document(blocking: C) -> C:
        for name, method in vars(blocking).items():
            if not name.startswith("_") and callable(method) and method.__doc__ is None:
                method.__doc__ = getattr(waited_for, name).__doc__
        return blocking

    return document


class _Caller:
    """Makes the calls of a blocking client and of its handles, until the client is closed."""

    def __init__(self, loop: ProviderLoop) -> None:
        self._loop = loop
        self.closed = False

    def run(self, call: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
        """Make the call on the provider's loop, and block until its result is there."""
        self.check()
        return self._loop.call_blocking(lambda: call(*args, **kwargs))

    def check(self) -> None:
        """Raise `ClientUnusable` if no call can be made."""
        refuse_inside_orchestration("a blocking client", "call it in an activity")
        self._loop.check_blocking()
        if self.closed:
            raise ClientUnusable("the client is closed; make another one")


@_documented_by(Handle)
class BlockingHandle(Generic[R_co]):
    """A started instance, whose result is an `R_co`; its methods block."""

    __slots__ = ("_caller", "_handle")

    def __init__(self, caller: _Caller, handle: Handle[R_co]) -> None:
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
    ) -> None:
        self._caller.run(self._handle.raise_event, name, data, event_id=event_id)

    def cancel(self, reason: str = DEFAULT_REASON) -> None:
        self._caller.run(self._handle.cancel, reason)

    def __repr__(self) -> str:
        return f"<BlockingHandle of {self._handle!r}>"


@_documented_by(Client)
class BlockingClient:
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
        client = source if isinstance(source, Client) else Client(source)
        self._client = client
        self._caller = _Caller(client.provider.event_loop)
        self._thread: LoopThread | None = None

    @classmethod
    def open(cls, url_or_options: str | BaseModel, *, plugins: Sequence[object] = ()) -> Self:
        """Open a provider by its URL or options, as `open_provider` does, on a thread of its own.

        Close it with `close`, or use it as a context manager.
        """
        from perdure.providers.loader import (
            open_provider,  # the loader is not needed by other clients
        )

        thread = LoopThread(lambda: open_provider(url_or_options, plugins=plugins))
        client = cls(thread.provider)
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
    ) -> BlockingHandle[object]: ...
    @overload
    def start_orchestration(
        self,
        instance: str,
        orchestration: WithInput[I, R],
        input: I,
        *,
        version: str | None = None,
    ) -> BlockingHandle[R]: ...
    @overload
    def start_orchestration(
        self,
        instance: str,
        orchestration: WithoutInput[R],
        input: None = None,
        *,
        version: str | None = None,
    ) -> BlockingHandle[R]: ...
    def start_orchestration(
        self,
        instance: str,
        orchestration: Orchestration,
        input: object = None,
        *,
        version: str | None = None,
    ) -> BlockingHandle[object]:
        start = cast("Callable[..., Awaitable[Handle[object]]]", self._client.start_orchestration)
        return self._handle(start, instance, orchestration, input, version=version)

    def start_orchestration_versioned(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]],
        version: str,
        input: object = None,
    ) -> BlockingHandle[R_object]:
        start = self._client.start_orchestration_versioned
        return self._handle(start, instance, orchestration, version, input)

    def start_orchestration_typed(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]],
        input: object = None,
    ) -> BlockingHandle[R_object]:
        return self._handle(self._client.start_orchestration_typed, instance, orchestration, input)

    def start_orchestration_versioned_typed(
        self,
        instance: str,
        orchestration: str | Callable[..., Awaitable[R_object]],
        version: str,
        input: object = None,
    ) -> BlockingHandle[R_object]:
        start = self._client.start_orchestration_versioned_typed
        return self._handle(start, instance, orchestration, version, input)

    def start(
        self,
        instance: str,
        orchestration: Callable[Concatenate[Never, P], Awaitable[R]],
        *,
        version: str | None = None,
    ) -> Callable[P, BlockingHandle[R]]:
        call = self._client.start(instance, orchestration, version=version)

        def start(*args: P.args, **kwargs: P.kwargs) -> BlockingHandle[R]:
            return self._handle(call, *args, **kwargs)

        return start

    def raise_event(
        self, instance: str, name: str, data: str | None = None, *, event_id: str | None = None
    ) -> None:
        self._caller.run(self._client.raise_event, instance, name, data, event_id=event_id)

    def cancel_instance(self, instance: str, reason: str = DEFAULT_REASON) -> None:
        self._caller.run(self._client.cancel_instance, instance, reason)

    def get_orchestration_status(self, instance: str) -> OrchestrationStatus:
        return self._caller.run(self._client.get_orchestration_status, instance)

    def wait_for_orchestration(
        self, instance: str, timeout: timedelta | float | None = None
    ) -> Completed | Failed:
        return self._caller.run(self._client.wait_for_orchestration, instance, timeout)

    def wait_for_orchestration_typed(
        self, instance: str, result_type: TypeForm[R], timeout: timedelta | float | None = None
    ) -> R:
        wait: Callable[..., Awaitable[R]] = self._client.wait_for_orchestration_typed
        return self._caller.run(wait, instance, result_type, timeout)

    def has_management_capability(self) -> bool:
        self._caller.check()
        return self._client.has_management_capability()

    def list_all_instances(
        self, page_size: int | None = None, token: str | None = None
    ) -> Page[str]:
        return self._caller.run(self._client.list_all_instances, page_size, token)

    def list_instances_by_status(
        self,
        status: InstanceStatus | str,
        page_size: int | None = None,
        token: str | None = None,
    ) -> Page[str]:
        return self._caller.run(self._client.list_instances_by_status, status, page_size, token)

    def get_instance_info(self, instance: str) -> InstanceInfo:
        return self._caller.run(self._client.get_instance_info, instance)

    def get_execution_info(self, instance: str, execution: int) -> ExecutionInfo:
        return self._caller.run(self._client.get_execution_info, instance, execution)

    def list_executions(self, instance: str) -> list[int]:
        return self._caller.run(self._client.list_executions, instance)

    def read_execution_history(self, instance: str, execution: int) -> list[Event]:
        return self._caller.run(self._client.read_execution_history, instance, execution)

    def export_history(self, instance: str, *, payloads: Payloads = "full") -> HistoryDocument:
        return self._caller.run(self._client.export_history, instance, payloads=payloads)

    def get_system_metrics(self) -> SystemMetrics:
        return self._caller.run(self._client.get_system_metrics)

    def get_queue_depths(self) -> QueueDepths:
        return self._caller.run(self._client.get_queue_depths)

    def __repr__(self) -> str:
        return f"<BlockingClient of {self._client.provider.description}>"

    def _handle(
        self, start: Callable[P, Awaitable[Handle[R]]], *args: P.args, **kwargs: P.kwargs
    ) -> BlockingHandle[R]:
        return BlockingHandle(self._caller, self._caller.run(start, *args, **kwargs))
