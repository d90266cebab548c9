"""The backend for the conformance suite: it changes stored data by plain SQL, beside the provider.

Only the suite imports it, through a hook.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

from perdure.contract import Provider
from perdure_conformance.backend import Declaration, UrlBackend
from perdure_conformance.tampering import (
    EFFECTS,
    FAILING_STEPS,
    LOST_EVENTS,
    RAW_HISTORY,
    SPOILED_INSTANCES,
    STORAGE_ERRORS,
    EventPlace,
    Outage,
)

from perdure_sqlite._provider import SQLiteProvider
from perdure_sqlite._testing.failing_statements import FailingStatements, failing_statement
from perdure_sqlite._testing.outages import RAISED, Statements, outage_of

_WHICH_INSTANCE: Final = """
    SELECT perdure_instances.number FROM perdure_instances
    JOIN perdure_namespaces ON perdure_namespaces.number = perdure_instances.namespace
    WHERE perdure_namespaces.name = ? AND perdure_instances.id = ?
"""
_LOSE: Final = f"""
    DELETE FROM perdure_events WHERE instance = ({_WHICH_INSTANCE}) AND execution = ? AND event = ?
"""  # noqa: S608 # made of constants
_REPLACE: Final = f"""
    UPDATE perdure_events SET data = ?
    WHERE instance = ({_WHICH_INSTANCE}) AND execution = ? AND event = ?
"""  # noqa: S608 # made of constants
_SPOIL: Final = f"""
    UPDATE perdure_instances SET status = 'Spoiled' WHERE number = ({_WHICH_INSTANCE})
"""  # noqa: S608 # made of constants

_MAKE_EFFECTS: Final = "CREATE TABLE IF NOT EXISTS conformance_effects (key TEXT)"
_FIND_EFFECTS: Final = "SELECT 1 FROM sqlite_master WHERE name = 'conformance_effects'"

TAMPERING: Final = frozenset(
    {EFFECTS, FAILING_STEPS, LOST_EVENTS, RAW_HISTORY, SPOILED_INSTANCES, STORAGE_ERRORS}
)


class FileBackend(UrlBackend):
    """A file, with ways to tamper with what it stores."""

    outages = tuple(RAISED)

    def __init__(self, url: str, declaration: Declaration, *, path: Path) -> None:
        tampering = TAMPERING
        super().__init__(url, replace(declaration, tampering=tampering))
        self._path = path

    async def lose_event(self, place: EventPlace) -> None:
        """Delete the event's row."""
        self._change(_LOSE, place.namespace, place.instance, place.execution, place.number)

    async def replace_event(self, place: EventPlace, data: bytes) -> None:
        """Write other bytes into the event's row."""
        self._change(_REPLACE, data, place.namespace, place.instance, place.execution, place.number)

    async def spoil_instance(self, namespace: str, instance: str) -> None:
        """Write an unknown status into the instance's row."""
        self._change(_SPOIL, namespace, instance)

    async def write_effect(self, connection: object, key: str) -> None:
        """Insert the key into a table of the suite's own."""
        driver = cast("sqlite3.Connection", connection)
        driver.execute(_MAKE_EFFECTS)
        driver.execute("INSERT INTO conformance_effects VALUES (?)", (key,))

    async def read_effects(self) -> Sequence[str]:
        """The keys in that table."""
        with closing(sqlite3.connect(self._path)) as connection:
            if connection.execute(_FIND_EFFECTS).fetchone() is None:
                return []
            return [key for (key,) in connection.execute("SELECT key FROM conformance_effects")]

    def fail_at(self, provider: Provider, step: int) -> AbstractContextManager[FailingStatements]:
        """Let a statement of the writer fail, as if the disk had failed."""
        if not isinstance(provider, SQLiteProvider):
            raise TypeError(f"{provider!r} is not a provider object of this backend")
        return failing_statement(provider.transaction, step)

    def break_storage(
        self, provider: Provider, outage: Outage, *, step: int
    ) -> AbstractContextManager[Statements]:
        """Let all statements from this one on fail, as SQLite fails in this outage."""
        if not isinstance(provider, SQLiteProvider):
            raise TypeError(f"{provider!r} is not a provider object of this backend")
        return outage_of(provider.opened, outage, step)

    def _change(self, statement: str, *parameters: object) -> None:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            changed = connection.execute(statement, parameters).rowcount
        if changed != 1:
            raise LookupError(f"{changed} rows were changed with {parameters}, expected one")
