"""Back doors: ways around a provider to its storage, which a harness may offer.

Decay, a restored backup and people with tools reach a storage past its provider. What a provider
must do then can only be tested where the suite gets there too: so a backend may have the methods
of one or more of these protocols, and its declaration names those in `doors`. A check that needs
a door which is not offered is unsupported, and does not weaken the verdict.

Each method works while provider objects are open on the storage.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from perdure.contract import Provider

from perdure_conformance.expect import ClauseBroken

RAW_HISTORY: Final = "raw history"
LOST_EVENTS: Final = "lost events"
SPOILED_INSTANCES: Final = "spoiled instances"
FAILING_STEPS: Final = "failing steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPlace:
    """Where an event is stored."""

    namespace: str
    instance: str
    execution: int
    number: int


@runtime_checkable
class RawHistory(Protocol):
    """The door `RAW_HISTORY`."""

    async def replace_event(self, place: EventPlace, data: bytes) -> None:
        """Store other bytes in place of an event's."""
        ...


@runtime_checkable
class LostEvents(Protocol):
    """The door `LOST_EVENTS`."""

    async def lose_event(self, place: EventPlace) -> None:
        """Take an event out of the storage; the others and the plain fields stay."""
        ...


@runtime_checkable
class SpoiledInstances(Protocol):
    """The door `SPOILED_INSTANCES`."""

    async def spoil_instance(self, namespace: str, instance: str) -> None:
        """Make the plain fields of an instance something that they cannot be."""
        ...


class Step(Protocol):
    """What came of a step that was to fail."""

    @property
    def reached(self) -> bool:
        """Whether the provider object came so far."""
        ...


@runtime_checkable
class FailingSteps(Protocol):
    """The door `FAILING_STEPS`."""

    def fail_at(self, provider: Provider, step: int) -> AbstractContextManager[Step]:
        """In the block, let one access of a provider object to its storage fail, once.

        It is the one of this number, counted from 1 and from the begin of the block: a
        statement, a request, a write. It fails as this storage may fail.
        """
        ...


class BackDoors:
    """The back doors of a backend; each complains where it is declared and not there."""

    def __init__(self, backend: object) -> None:
        self._backend = backend

    @property
    def raw_history(self) -> RawHistory:
        """To the bytes of events."""
        if not isinstance(self._backend, RawHistory):
            raise missing(RAW_HISTORY)
        return self._backend

    @property
    def lost_events(self) -> LostEvents:
        """To take events away."""
        if not isinstance(self._backend, LostEvents):
            raise missing(LOST_EVENTS)
        return self._backend

    @property
    def spoiled_instances(self) -> SpoiledInstances:
        """To plain fields."""
        if not isinstance(self._backend, SpoiledInstances):
            raise missing(SPOILED_INSTANCES)
        return self._backend

    @property
    def failing_steps(self) -> FailingSteps:
        """To let accesses to the storage fail."""
        if not isinstance(self._backend, FailingSteps):
            raise missing(FAILING_STEPS)
        return self._backend


def missing(door: str) -> ClauseBroken:
    """The complaint about a back door that is declared and not there."""
    return ClauseBroken(
        f"the harness declares the back door {door!r}, and its backend lacks the methods; add"
        " them, or take it out of the declaration"
    )
