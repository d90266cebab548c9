"""The backend for the conformance suite: it changes stored histories beside the provider.

Only the suite imports it, through a hook.
"""

from __future__ import annotations

from dataclasses import replace

from perdure_conformance.backend import Declaration, UrlBackend
from perdure_conformance.tampering import LOST_EVENTS, RAW_HISTORY, EventPlace

from perdure_memory._instances import Execution
from perdure_memory._named_stores import find_store
from perdure_memory._options import MemoryOptions


class NamedStoreBackend(UrlBackend):
    """A named store, with ways to tamper with its histories."""

    def __init__(self, url: str, declaration: Declaration, *, name: str) -> None:
        tampering = frozenset({LOST_EVENTS, RAW_HISTORY})
        super().__init__(url, replace(declaration, tampering=tampering))
        self._name = name

    async def lose_event(self, place: EventPlace) -> None:
        """Remove the event from its history."""
        self._execution(place).events[place.number - 1] = None

    async def replace_event(self, place: EventPlace, data: bytes) -> None:
        """Replace the bytes of the event."""
        self._execution(place).events[place.number - 1] = data

    def _execution(self, place: EventPlace) -> Execution:
        store = find_store(MemoryOptions(name=self._name, namespace=place.namespace))
        execution = store.instances[place.instance].find_execution(place.execution)
        if execution is None:
            raise LookupError(f"instance {place.instance!r} has no execution {place.execution}")
        return execution
