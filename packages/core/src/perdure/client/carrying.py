"""Methods of a client that serve every event loop of the process.

On the provider's own loop a method runs as it is. On another loop it is carried to the
provider's, and its answer comes back; inside an orchestration it runs where it is, and refuses by
its own words.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from perdure.contract.provider import Provider
from perdure.model.guards import OrchestrationLoopMarker


class HoldsProvider(Protocol):
    """What the methods belong to: a client, a handle."""

    @property
    def _provider(self) -> Provider: ...


S = TypeVar("S", bound=HoldsProvider)
P = ParamSpec("P")
R = TypeVar("R")
AsyncMethod = Callable[Concatenate[S, P], Coroutine[Any, Any, R]]


def on_any_loop(method: AsyncMethod[S, P, R]) -> AsyncMethod[S, P, R]:
    """Let the method be called on any loop; raises `ClientUnusable` where the provider is closed."""

    @functools.wraps(method)
    async def call(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        home = self._provider.home  # pyright: ignore[reportPrivateUsage] # the owner's, by its protocol
        running = asyncio.get_running_loop()
        if isinstance(running, OrchestrationLoopMarker) or home.is_here():
            return await method(self, *args, **kwargs)
        return await home.carry(lambda: method(self, *args, **kwargs))

    return call
