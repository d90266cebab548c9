"""Methods of a client that can be called on every event loop of the process.

On the provider's own loop a method runs directly. On another loop it runs on the provider's loop,
and the caller awaits its result. Inside an orchestration it runs directly too, and raises the error
that says what to do instead; and so it does on a provider whose calls block, which needs no loop.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from perdure.contract.provider import Provider
from perdure.model.guards import OrchestrationLoopMarker


class HoldsProvider(Protocol):
    """An object with such methods: a client or a handle."""

    @property
    def _provider(self) -> Provider: ...


S = TypeVar("S", bound=HoldsProvider)
P = ParamSpec("P")
R = TypeVar("R")
AsyncMethod = Callable[Concatenate[S, P], Coroutine[Any, Any, R]]


def on_any_loop(method: AsyncMethod[S, P, R]) -> AsyncMethod[S, P, R]:
    """Let the method be called on any loop; it raises `ClientUnusable` once the provider is closed."""

    @functools.wraps(method)
    async def call(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        provider_loop = self._provider.event_loop  # pyright: ignore[reportPrivateUsage] # the owner's, by its protocol
        if provider_loop.blocks:
            return await method(self, *args, **kwargs)
        running = asyncio.get_running_loop()
        if isinstance(running, OrchestrationLoopMarker) or provider_loop.is_running_here():
            return await method(self, *args, **kwargs)
        return await provider_loop.call(lambda: method(self, *args, **kwargs))

    return call
