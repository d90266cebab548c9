"""Finds out, before any check, whether a storage can be tested at all.

Every check opens several provider objects on one storage. If the storage cannot be opened, or two
objects do not see each other's effects, most checks would fail with misleading complaints. The
obstacle is reported once, in place of all results.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from perdure.clock import Clock
from perdure.contract import Provider, masked
from perdure.errors import StorageFailed, StorageUnavailable

from perdure_conformance.backend import OPENING, Backend, Declaration, find_backend
from perdure_conformance.bench import open_bench

PATIENCE = 60.0
"""Real seconds after which the preflight is given up."""


class UnreachableBackend:
    """The backend of a URL that could not be opened."""

    def __init__(self, url: str, reason: str) -> None:
        self.url: str | None = None
        self.reason = reason
        self.declaration = Declaration.unknown(url.partition(":")[0], masked(url))

    @asynccontextmanager
    async def open(self, *, clock: Clock, namespace: str) -> AsyncGenerator[Provider]:
        """Raises what opening the storage raised."""
        raise StorageUnavailable(self.reason, operation="open")
        yield


def reach_backend(url: str, known: Declaration | None = None) -> Backend:
    """The backend of a URL, or an `UnreachableBackend` if it cannot be opened for any reason."""
    try:
        return find_backend(url, known)
    except TimeoutError:
        return UnreachableBackend(url, f"{masked(url)} could not be opened within {OPENING:g} s")
    except Exception as error:  # noqa: BLE001 # a provider may fail to open in any way
        reason = f"{masked(url)} could not be opened: {type(error).__name__}: {error}"
        return UnreachableBackend(url, reason)


def find_obstacle(backend: Backend) -> str | None:
    """Why this backend cannot be tested, in a sentence; None if it can.

    Needs a thread without a running event loop.
    """
    if isinstance(backend, UnreachableBackend):
        return backend.reason
    what = backend.declaration.description
    try:
        met = asyncio.run(share_a_storage(backend))
    except TimeoutError:
        return f"creating an instance in {what} took longer than {PATIENCE:g} s"
    except (StorageUnavailable, StorageFailed) as error:
        return f"{what} could not be used: {type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 # a broken promise, which the checks say better
        return None
    if met:
        return None
    return (
        f"two openings of {what} do not see each other, so each check would test several"
        f" storages; give the storage a name, such as {backend.declaration.scheme}://x, or"
        " implement the hook perdure_conformance_harness with a backend that keeps it"
    )


async def share_a_storage(backend: Backend) -> bool:
    """Whether one provider object sees the instance that another one has created."""
    async with asyncio.timeout(PATIENCE), open_bench(backend) as bench:
        new = await bench.create()
        other = await bench.open()
        return await other.read_instance(new.instance) is not None
