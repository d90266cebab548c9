"""A backend: a storage that the suite opens provider objects on.

The usual one is a URL. A provider package may give a better one through the hook
`perdure_conformance_harness`: one that prepares its storage or offers back doors.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

import pluggy
from perdure.clock import Clock
from perdure.contract import Provider

hookspec = pluggy.HookspecMarker("perdure")


class Backend(Protocol):
    """What the suite needs to know of a storage, and how it opens provider objects on it."""

    @property
    def description(self) -> str:
        """What identifies it to a person, without secrets."""
        ...

    @property
    def scheme(self) -> str:
        """The name that the provider is known by."""
        ...

    @property
    def contract(self) -> tuple[int, int]:
        """The version of the contract that the provider was written for."""
        ...

    @property
    def capabilities(self) -> frozenset[str]:
        """What the provider declares."""
        ...

    @property
    def url(self) -> str | None:
        """A URL under which another process finds the same storage, if there is one."""
        ...

    def open(self, *, clock: Clock, namespace: str) -> AbstractAsyncContextManager[Provider]:
        """A provider object on this storage; each call gives another one."""
        ...


@runtime_checkable
class BackDoors(Protocol):
    """What a backend may offer beside: damage that only somebody with the raw storage can do."""

    async def corrupt_history(self, namespace: str, instance: str, execution: int) -> None:
        """Make what is stored of this history unreadable."""
        ...


@hookspec(firstresult=True)
def perdure_conformance_harness(scheme: str, url: str) -> Backend | None:  # pyright: ignore[reportReturnType] # a specification has no body
    """The backend to use for a URL of this scheme, or None for the usual one."""


__all__: Sequence[str] = ["BackDoors", "Backend", "perdure_conformance_harness"]
