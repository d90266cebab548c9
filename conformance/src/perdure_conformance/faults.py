"""Faults between a runtime and its storage: a plugin that makes any provider unreliable.

    faults = Faults(rate=0.1, seed=1)
    async with open_provider("sqlite:///x.db", plugins=[faults]) as provider: ...

The contract allows every one of these faults, and each instance must end correctly under all of them.
The same seed and the same order of calls give the same faults.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import TypeVar, cast

from perdure.contract import (
    ActivityCompletion,
    ActivityLease,
    ActivityRelease,
    DelegatingProvider,
    Provider,
    ProviderCall,
    ProviderSpec,
    ProviderWrapper,
    TurnCommit,
    TurnLease,
    TurnRelease,
    hookimpl,
)
from perdure.errors import StorageFailed, StorageUnavailable

R = TypeVar("R")


class Fault(StrEnum):
    """A fault of a call."""

    BEFORE = "before"
    """Unavailable, without effect."""
    LOST_ANSWER = "lost answer"
    """Unavailable, after the effect."""
    REFUSED = "refused"
    """Failed permanently, without effect. Not among the usual faults, since no runtime can go on."""
    DELAY = "delay"
    """Slow, on the clock."""
    TWICE = "twice"
    """Made twice, as on a network that repeats requests; the caller gets the second answer."""
    LEASE_LOSS = "lease loss"
    """The leases that the call names are gone when it arrives."""


USUAL = (Fault.BEFORE, Fault.LOST_ANSWER, Fault.DELAY, Fault.TWICE, Fault.LEASE_LOSS)
"""The faults that a runtime must survive."""


class Faults:
    """The plugin: chooses a fault, or none, for each call."""

    def __init__(
        self,
        *,
        rate: float = 0.1,
        seed: int = 0,
        faults: Sequence[Fault] = USUAL,
        operations: frozenset[str] | None = None,
        delay: timedelta = timedelta(milliseconds=20),
    ) -> None:
        self.rate = rate
        """The probability of a fault at each call; may be changed at any time."""
        self.delay = delay
        self.injected: Counter[tuple[str, Fault]] = Counter()
        """The number of faults by operation and fault."""
        self._faults = tuple(faults)
        self._operations = operations
        self._random = Random(seed)  # noqa: S311 # repeatable, no secret

    @hookimpl
    def perdure_wrap_provider(self, spec: ProviderSpec) -> ProviderWrapper:
        """Wrap the provider that is being opened."""
        del spec
        return self.wrap

    def wrap(self, provider: Provider) -> Provider:
        """This provider, with faults."""
        return FaultyProvider(provider, self)

    def choose(self, operation: str) -> Fault | None:
        """The fault of the next call, or None."""
        if self._operations is not None and operation not in self._operations:
            return None
        if self._random.random() >= self.rate:
            return None
        fault = self._random.choice(self._faults)
        self.injected[operation, fault] += 1
        return fault


class FaultyProvider(DelegatingProvider):
    """Passes calls on, with faults."""

    def __init__(self, inner: Provider, faults: Faults) -> None:
        super().__init__(inner)
        self._faults = faults

    async def around(self, operation: str, call: ProviderCall[R]) -> R:
        """Make the call, with the fault that is chosen for it."""
        match self._faults.choose(operation):
            case Fault.BEFORE:
                raise StorageUnavailable(
                    f"{operation} was not carried out: an injected fault; repeat it",
                    operation=operation,
                )
            case Fault.LOST_ANSWER:
                await call()
                raise StorageUnavailable(
                    f"the answer of {operation} was lost: an injected fault; repeat it",
                    operation=operation,
                )
            case Fault.REFUSED:
                raise StorageFailed(
                    f"{operation} was refused: an injected fault; look at what injects it",
                    operation=operation,
                )
            case Fault.DELAY:
                await self.clock.sleep(self._faults.delay)
            case Fault.TWICE:
                await call()
            case Fault.LEASE_LOSS:
                await self._lose_leases(call.argument)
            case None:
                pass
        return await call()

    async def _lose_leases(self, argument: object) -> None:
        """Release the leases that the argument of a call names, if it names any."""
        for lease in _leases_in(argument):
            if isinstance(lease, TurnLease):
                await self.inner.release_turn(TurnRelease(lease=lease))
            else:
                await self.inner.release_activity(ActivityRelease(lease=lease))


def _leases_in(argument: object) -> list[TurnLease | ActivityLease]:
    if isinstance(argument, TurnCommit):
        own = TurnLease(instance=argument.instance, token=argument.token)
        return [*argument.finish, own]
    if isinstance(argument, ActivityCompletion):
        return [argument.lease]
    if isinstance(argument, Sequence) and not isinstance(argument, str):
        each = cast("Sequence[object]", argument)
        return [one for one in each if isinstance(one, TurnLease | ActivityLease)]
    return []
