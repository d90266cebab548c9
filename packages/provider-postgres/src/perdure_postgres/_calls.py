"""Calls of the functions of the database, for one schema and namespace."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from perdure.contract import (
    HistoryPage,
    StoredEvent,
    checked_page,
    first_page,
    unpack_history,
)

from perdure_postgres._database import Parameters, Row
from perdure_postgres._errors import DamagedRecord, provider_error
from perdure_postgres._histories import events_of
from perdure_postgres._schema.migrations import quoted
from perdure_postgres._statements import Statement
from perdure_postgres._texts import stored


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundHistory:
    """What is stored of the events of an execution, and what bounds it."""

    incarnation: str
    first: int
    current: int
    last: int | None
    more: bool
    """Whether there are other rows."""
    packed: bytes | None
    rows: Sequence[Row]

    def page(self, instance: str, execution: int, after: int) -> HistoryPage:
        """The page; raises `StorageCorrupt` if an event is missing, or `DamagedRecord`."""
        if self.last is None:
            raise DamagedRecord(instance, f"the end of execution {execution} is lost")
        try:
            page, more = first_page(self._events(after), lambda event: len(event.data))
        except ValueError as error:
            raise DamagedRecord(
                instance, f"the history of execution {execution} cannot be read ({error})"
            ) from error
        return checked_page(
            instance, execution, page, after=after, last=self.last, more=more or self.more
        )

    def _events(self, after: int) -> Iterator[StoredEvent]:
        if self.packed is not None:
            for number, data in enumerate(unpack_history(self.packed), 1):
                if number > after:
                    yield StoredEvent(number=number, data=data)
        for last, count, data in self.rows:
            for event in events_of(last, count, data):
                if event.number > after:
                    yield event


class Fetches(Protocol):
    """What runs statements: connections of this package, or one of the application."""

    storage: str

    async def fetch(
        self, operation: str, statement: str, parameters: Parameters, *, repeatable: bool
    ) -> list[Row]:
        """The rows of a statement; raises a `ProviderError`."""
        ...


class Calls:
    """Calls of the functions of a schema, for one namespace."""

    def __init__(self, database: Fetches, *, schema: str, namespace: int) -> None:
        self.database = database
        self.namespace = namespace
        self._schema = quoted(schema)

    def function(self, name: str) -> str:
        """The full name of a function."""
        return f"{self._schema}.{name}"

    async def read(self, operation: str, function: str, *arguments: object) -> list[Row]:
        """The rows of a function that reads the namespace."""
        return await self.call(operation, function, *arguments, repeatable=True)

    async def read_plain(self, operation: str, function: str, *arguments: object) -> list[Row]:
        """The rows of a function that is not asked for a namespace."""
        return await self._fetch(operation, function, arguments, repeatable=True)

    async def call(
        self, operation: str, function: str, *arguments: object, repeatable: bool
    ) -> list[Row]:
        """The rows of a function of the namespace."""
        return await self._fetch(
            operation, function, (self.namespace, *arguments), repeatable=repeatable
        )

    async def run(self, operation: str, statement: Statement) -> list[Row]:
        """The rows of a statement that reads."""
        text, parameters = statement
        return await self.database.fetch(operation, text, parameters, repeatable=True)

    async def read_history(
        self, operation: str, instance: str, execution: int, after: int
    ) -> FoundHistory | None:
        """Events of an execution with numbers above `after`; None if there is no instance."""
        if execution > 2**31 - 1:
            execution = 2**31 - 1
        rows = await self.read(
            operation, "read_events", stored(instance), execution, min(after, 2**31 - 1)
        )
        if not rows:
            return None
        _, bounds, packed = rows[0]
        return FoundHistory(
            incarnation=bounds["incarnation"],
            first=bounds["first"],
            current=bounds["current"],
            last=bounds["last"],
            more=bounds["more"],
            packed=packed,
            rows=rows[1:],
        )

    @contextmanager
    def translating(self, operation: str) -> Generator[None]:
        """Raise the error of the contract for damage that is found in the block."""
        try:
            yield
        except DamagedRecord as damage:
            raise provider_error(
                damage, storage=self.database.storage, operation=operation
            ) from damage

    async def _fetch(
        self, operation: str, function: str, arguments: tuple[object, ...], *, repeatable: bool
    ) -> list[Row]:
        places = ", ".join(["%s"] * len(arguments))
        statement = f"SELECT * FROM {self.function(function)}({places})"  # noqa: S608 # our own names
        given = tuple(
            json.dumps(each, ensure_ascii=False) if isinstance(each, dict) else each
            for each in arguments
        )
        return await self.database.fetch(operation, statement, given, repeatable=repeatable)


def as_json(value: object) -> str:
    """A list as the functions take it."""
    return json.dumps(value, ensure_ascii=False)
