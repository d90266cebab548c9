"""How the suite tests itself: providers that break a clause, and the checks that must fail on them.

A broken provider is a subclass of the model's store or provider object, marked with the
clauses that it breaks. Each of these checks must fail on it with a complaint of its own, not with
an unrelated error inside the broken provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest
from perdure.clock import Clock
from perdure.contract import (
    CONTRACT,
    DELETION,
    LISTING,
    MANAGEMENT,
    RECOVERY,
    TRANSACTIONS,
    VALUES,
    Provider,
    StoredEvent,
)
from perdure.errors import PerdureError

from perdure_conformance.backend import Backend, Declaration
from perdure_conformance.check import Check
from perdure_conformance.expect import ClauseBroken
from perdure_conformance.model import ModelProvider, Store
from perdure_conformance.runner import run_check
from perdure_conformance.tampering import EFFECTS, RAW_HISTORY, EventPlace

ALL_OF_THE_MODEL = frozenset({MANAGEMENT, RECOVERY, DELETION, VALUES, LISTING, TRANSACTIONS})
"""The capabilities of the model."""


class StoreBackend:
    """A backend over stores in this process, of any kind of store and provider object.

    It offers tampering with histories, and writes in transactions.
    """

    def __init__(
        self,
        store: type[Store] = Store,
        provider: type[ModelProvider] = ModelProvider,
        *,
        capabilities: frozenset[str] = ALL_OF_THE_MODEL,
        tampering: frozenset[str] = frozenset({EFFECTS, RAW_HISTORY}),
    ) -> None:
        self.declaration = Declaration(
            scheme="model",
            contract=CONTRACT,
            capabilities=capabilities,
            description="model",
            tampering=tampering,
        )
        self.url: str | None = None
        self._store = store
        self._provider = provider
        self._stores: dict[str, Store] = {}

    @asynccontextmanager
    async def open(self, *, clock: Clock, namespace: str) -> AsyncGenerator[Provider]:
        """A provider object over the namespace's store."""
        store = self._stores.setdefault(self.key(namespace), self._store())
        yield self._provider(store, clock=clock, description="model")

    async def replace_event(self, place: EventPlace, data: bytes) -> None:
        """Store other bytes in place of an event's."""
        events = self.events(place)
        events[place.number - 1] = StoredEvent(number=place.number, data=data)

    async def lose_event(self, place: EventPlace) -> None:
        """Take an event out of its history."""
        del self.events(place)[place.number - 1]

    async def write_effect(self, connection: object, key: str) -> None:
        """Write a key in a transaction of the model, which is a list of keys."""
        cast("list[str]", connection).append(key)

    async def read_effects(self) -> Sequence[str]:
        """The keys that transactions have committed."""
        return [key for store in self._stores.values() for key in store.tables.effects]

    def events(self, place: EventPlace) -> list[StoredEvent]:
        """The history that an event is in."""
        tables = self._stores[self.key(place.namespace)].tables
        return tables.executions[place.instance][place.execution - 1].events

    def key(self, namespace: str) -> str:
        """The key of a namespace's store."""
        return namespace


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A provider that is wrong in one respect."""

    name: str
    clauses: Sequence[str]
    """The checks that must catch it."""
    make: Callable[[], Backend]


def breaks(*clauses: str) -> Callable[[type], Broken]:
    """Mark a kind of store, provider object or backend as one that breaks these clauses."""

    def marked(kind: type) -> Broken:
        return Broken(name=kind.__name__, clauses=clauses, make=lambda: backend_of(kind))

    return marked


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPromise:
    """A provider or a runtime that breaks what users are promised."""

    name: str
    scenarios: Sequence[str]
    """The scenarios that must fail."""
    spoil: Callable[[pytest.MonkeyPatch], type[ModelProvider] | None]
    """Patches core, or returns the provider objects to use in place of the model's."""


def breaks_promises(
    *numbers: str,
) -> Callable[[Callable[[pytest.MonkeyPatch], type[ModelProvider] | None]], BrokenPromise]:
    """Mark a function as one that breaks the promises of these scenarios, by their numbers."""

    def marked(spoil: Callable[[pytest.MonkeyPatch], type[ModelProvider] | None]) -> BrokenPromise:
        ids = [f"SCENARIO-{number}" for number in numbers]
        return BrokenPromise(name=spoil.__name__, scenarios=ids, spoil=spoil)

    return marked


def backend_of(kind: type) -> StoreBackend:
    """A backend of this kind, or one with stores or provider objects of this kind."""
    if issubclass(kind, StoreBackend):
        return kind()
    if issubclass(kind, Store):
        return StoreBackend(store=kind)
    if issubclass(kind, ModelProvider):
        return StoreBackend(provider=kind)
    raise TypeError(f"{kind.__name__} is no store, provider object or backend")


def what_catches(broken: Broken, check: Check) -> str | None:
    """The complaint of a check about a broken provider; None if the check passes.

    Errors that are neither complaints nor Perdure's own pass through.
    """
    try:
        asyncio.run(run_check(check, broken.make()))
    except (ClauseBroken, PerdureError) as error:
        return str(error)
    return None
