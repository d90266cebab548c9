"""What the conformance suite is offered beside the provider: ways into its file, by plain SQL.

Imported by the suite alone, which asks for it through a hook.
"""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from perdure.contract import Provider
from perdure_conformance.backend import Declaration, UrlBackend
from perdure_conformance.doors import (
    FAILING_STEPS,
    LOST_EVENTS,
    RAW_HISTORY,
    SPOILED_INSTANCES,
    EventPlace,
)

from perdure_sqlite._failing import Failing, failing
from perdure_sqlite._provider import SQLiteProvider

_WHICH_INSTANCE: Final = """
    SELECT perdure_instances.number FROM perdure_instances
    JOIN perdure_namespaces ON perdure_namespaces.number = perdure_instances.namespace
    WHERE perdure_namespaces.name = ? AND perdure_instances.id = ?
"""
_LOSE: Final = f"""
    DELETE FROM perdure_events WHERE instance = ({_WHICH_INSTANCE}) AND execution = ? AND number = ?
"""  # noqa: S608 # made of constants
_REPLACE: Final = f"""
    UPDATE perdure_events SET data = ?
    WHERE instance = ({_WHICH_INSTANCE}) AND execution = ? AND number = ?
"""  # noqa: S608 # made of constants
_SPOIL: Final = f"""
    UPDATE perdure_instances SET status = 'Spoiled' WHERE number = ({_WHICH_INSTANCE})
"""  # noqa: S608 # made of constants


class FileBackend(UrlBackend):
    """A file, with back doors to what is in it."""

    def __init__(self, url: str, declaration: Declaration, *, path: Path) -> None:
        doors = frozenset({FAILING_STEPS, LOST_EVENTS, RAW_HISTORY, SPOILED_INSTANCES})
        super().__init__(url, replace(declaration, doors=doors))
        self._path = path

    async def lose_event(self, place: EventPlace) -> None:
        """Delete the event's row."""
        self._change(_LOSE, place.namespace, place.instance, place.execution, place.number)

    async def replace_event(self, place: EventPlace, data: bytes) -> None:
        """Write other bytes into the event's row."""
        self._change(_REPLACE, data, place.namespace, place.instance, place.execution, place.number)

    async def spoil_instance(self, namespace: str, instance: str) -> None:
        """Write a status that there is not into the instance's row."""
        self._change(_SPOIL, namespace, instance)

    def fail_at(self, provider: Provider, step: int) -> AbstractContextManager[Failing]:
        """Let a statement of its writer fail, as if the disk had."""
        if not isinstance(provider, SQLiteProvider):
            raise TypeError(f"{provider!r} is not a provider object of this backend")
        return failing(provider.session, step)

    def _change(self, statement: str, *parameters: object) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            changed = connection.execute(statement, parameters).rowcount
        if changed != 1:
            raise LookupError(f"{changed} rows were changed with {parameters}, expected one")
