"""Leases that a call took, or may have taken, and did not return.

The store may fail a call after some of its leases were written. Such a lease never counts as an
attempt: the call gives it back, uncounted. A lease that the store does not take back now is
remembered here, until a later call gives it back or the same token asks again and gets it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, Protocol, TypeVar

from perdure.errors import ProviderError

from perdure_dynamodb._lease_memory import BoundedMemory
from perdure_dynamodb._table import at_once


class _Lease(Protocol):
    """A lease of either kind."""

    @property
    def token(self) -> str: ...

    def __hash__(self) -> int: ...


L = TypeVar("L", bound=_Lease)


class UnreturnedLeases(Generic[L]):
    """The leases of one kind; `give_back` undoes one, and has no effect on one that is gone."""

    def __init__(self, give_back: Callable[[L], Awaitable[None]]) -> None:
        self._give_back = give_back
        self._leases: BoundedMemory[L, None] = BoundedMemory()

    def claim(self, token: str) -> set[L]:
        """Those of a token that asks again: the call returns them or gives them back."""
        claimed = {lease for lease in self._leases if lease.token == token}
        for lease in claimed:
            del self._leases[lease]
        return claimed

    async def give_back(self, leases: Iterable[L] = ()) -> None:
        """Give these back, and all that could not be given back before."""
        owed = {**self._leases, **dict.fromkeys(leases)}
        self._leases.clear()
        await at_once(self._try(lease) for lease in owed)

    async def _try(self, lease: L) -> None:
        try:
            await self._give_back(lease)
        except ProviderError:
            self._leases[lease] = None
