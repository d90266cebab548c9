"""Tampering: changes to a storage past its provider, which a provider's backend may offer.

Disks decay, backups are restored, and people use tools on a storage. The suite can test what a
provider does then only if the backend helps: it may have the methods of one or more of these
protocols, and its declaration names them in `tampering`. A check that needs tampering which the
backend does not offer is unsupported, and does not weaken the verdict.

Each method works while provider objects are open on the storage.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from perdure.contract import Provider

from perdure_conformance.expect import ClauseBroken

RAW_HISTORY: Final = "raw history"
LOST_EVENTS: Final = "lost events"
SPOILED_INSTANCES: Final = "spoiled instances"
FAILING_STEPS: Final = "failing steps"
STORAGE_ERRORS: Final = "storage errors"
PAUSES: Final = "pauses"
EFFECTS: Final = "effects"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPlace:
    """Where an event is stored."""

    namespace: str
    instance: str
    execution: int
    number: int


@runtime_checkable
class RawHistory(Protocol):
    """Offered as `RAW_HISTORY`."""

    async def replace_event(self, place: EventPlace, data: bytes) -> None:
        """Store other bytes in place of an event's."""
        ...


@runtime_checkable
class LostEvents(Protocol):
    """Offered as `LOST_EVENTS`."""

    async def lose_event(self, place: EventPlace) -> None:
        """Take an event out of the storage; the others and the plain fields stay."""
        ...


@runtime_checkable
class SpoiledInstances(Protocol):
    """Offered as `SPOILED_INSTANCES`."""

    async def spoil_instance(self, namespace: str, instance: str) -> None:
        """Make the plain fields of an instance invalid."""
        ...


class Step(Protocol):
    """A step that has to fail."""

    @property
    def reached(self) -> bool:
        """Whether the provider object made this step."""
        ...


@runtime_checkable
class FailingSteps(Protocol):
    """Offered as `FAILING_STEPS`."""

    def fail_at(self, provider: Provider, step: int) -> AbstractContextManager[Step]:
        """In the block, make one access of a provider object to its storage fail, once.

        Accesses (statements, requests, writes) are counted from 1 at the begin of the block. The
        one with the number `step` fails as this storage may fail.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A way in which accesses to a storage fail: what the driver raises, or the server answers."""

    name: str
    """What happened, such as `the connection is cut`."""
    passes: bool
    """Whether it ends by itself, so that the provider raises an error that is retryable."""


@runtime_checkable
class StorageErrors(Protocol):
    """Offered as `STORAGE_ERRORS`."""

    @property
    def outages(self) -> Sequence[Outage]:
        """The outages of this storage; at least one passes."""
        ...

    def break_storage(
        self, provider: Provider, outage: Outage, *, step: int
    ) -> AbstractContextManager[Step]:
        """In the block, accesses of a provider object to its storage fail as in this outage.

        Accesses are counted from 1 at the begin of the block. That with the number `step` fails, and
        so do all after it, attempts to connect again included. When the block ends, the storage works.
        Errors are raised where the driver raises them, below all that the provider does about them.
        """
        ...


class Pause(Step, Protocol):
    """A step that is held."""

    def go_on(self) -> None:
        """Let the step be made, now or when it is reached."""
        ...


@runtime_checkable
class Pauses(Protocol):
    """Offered as `PAUSES`."""

    def pause_at(self, provider: Provider, step: int) -> AbstractContextManager[Pause]:
        """In the block, hold one access of a provider object to its storage until `go_on`.

        Accesses are counted as in `FailingSteps`. The one with the number `step` is held before it is
        made; other provider objects go on meanwhile, as far as no lock keeps them.
        """
        ...


@runtime_checkable
class Effects(Protocol):
    """Offered as `EFFECTS`, where the provider has the capability `transactions`."""

    async def write_effect(self, connection: object, key: str) -> None:
        """Write a key in the transaction that is open on a connection of `begin_transaction`."""
        ...

    async def read_effects(self) -> Sequence[str]:
        """Every key that was written and is committed, as often as it was written."""
        ...


class Tampering:
    """The tampering that a backend offers; complains where it is declared and missing."""

    def __init__(self, backend: object) -> None:
        self._backend = backend

    @property
    def raw_history(self) -> RawHistory:
        """Tampering with the bytes of events."""
        if not isinstance(self._backend, RawHistory):
            raise missing(RAW_HISTORY)
        return self._backend

    @property
    def lost_events(self) -> LostEvents:
        """Removing events."""
        if not isinstance(self._backend, LostEvents):
            raise missing(LOST_EVENTS)
        return self._backend

    @property
    def spoiled_instances(self) -> SpoiledInstances:
        """Tampering with plain fields."""
        if not isinstance(self._backend, SpoiledInstances):
            raise missing(SPOILED_INSTANCES)
        return self._backend

    @property
    def failing_steps(self) -> FailingSteps:
        """Making accesses to the storage fail."""
        if not isinstance(self._backend, FailingSteps):
            raise missing(FAILING_STEPS)
        return self._backend

    @property
    def storage_errors(self) -> StorageErrors:
        """Outages of the storage."""
        if not isinstance(self._backend, StorageErrors):
            raise missing(STORAGE_ERRORS)
        return self._backend

    @property
    def pauses(self) -> Pauses:
        """Holding accesses to the storage."""
        if not isinstance(self._backend, Pauses):
            raise missing(PAUSES)
        return self._backend

    @property
    def effects(self) -> Effects:
        """Writing in the transactions of activities."""
        if not isinstance(self._backend, Effects):
            raise missing(EFFECTS)
        return self._backend


def missing(tampering: str) -> ClauseBroken:
    """The complaint about tampering that is declared, and missing."""
    return ClauseBroken(
        f"the declaration offers tampering {tampering!r}, and the backend lacks its methods; add"
        " them, or remove it from the declaration"
    )
