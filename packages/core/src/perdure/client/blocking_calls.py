"""How the methods of a client become methods that block.

`blocking(Client.method)` is a method with the same arguments and words, for a class that has a
client and a caller. A type checker sees its arguments and its result.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from perdure.client.client import Client
from perdure.contract.event_loop import ProviderLoop
from perdure.errors import ClientUnusable
from perdure.model.guards import refuse_inside_orchestration

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., object])


class Caller:
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


class HasClient:
    """The base of the class that has blocking methods."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._caller = Caller(client.provider.event_loop)


def blocking(
    method: Callable[Concatenate[Client, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[HasClient, P], R]:
    """The method, which blocks until its result is there."""

    def call(self: HasClient, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._caller.run(method, self._client, *args, **kwargs)  # pyright: ignore[reportPrivateUsage] # of the class that this is a method of

    return like(method, call)


def like(method: Callable[..., object], call: F) -> F:
    """Give `call` the name, the signature and the words of the method that it stands for."""
    # Without `__wrapped__`, by which tools would take it for a coroutine function.
    function = cast("Any", call)
    function.__name__ = cast("Any", method).__name__
    function.__qualname__ = f"BlockingClient.{function.__name__}"
    function.__module__ = "perdure.client.blocking"
    function.__signature__ = inspect.signature(method)
    function.__doc__ = method.__doc__
    return call


def documented_by(waited_for: type) -> Callable[[C], C]:
    """Give each method without a docstring the docstring of the method that it waits for."""

    def document(blocks: C) -> C:
        for name, method in vars(blocks).items():
            if not name.startswith("_") and callable(method) and method.__doc__ is None:
                method.__doc__ = getattr(waited_for, name).__doc__
        return blocks

    return document
