"""The world outside: a bank, a warehouse and a courier, which know nothing of Perdure.

They keep a ledger in an SQLite file of their own. Like real services, they take an idempotency
key with each request: what they have booked under a key they do not book again. Every request
is written down beside that, so that the ledger shows who asked twice and what came of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS request (
    number INTEGER PRIMARY KEY, action TEXT, "order" TEXT, item TEXT, cents INTEGER, key TEXT,
    process INTEGER, booked INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS once ON request (action, key) WHERE booked;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as the ledger has it."""

    action: str
    """`reserve`, `release`, `charge`, `refund` or `courier`."""
    order: str
    item: str
    cents: int
    key: str
    process: int
    """The process that asked."""
    booked: bool
    """False where the key had been seen before, so that nothing happened."""


class Outside:
    """The ledger; any number of processes may hold one on the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connection() as connection:
            connection.executescript(_TABLES)

    def ask(self, request: Request) -> bool:
        """Book it, unless its key was booked before; says whether it was."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            seen = connection.execute(
                "SELECT 1 FROM request WHERE action = ? AND key = ? AND booked",
                (request.action, request.key),
            ).fetchone()
            connection.execute(
                "INSERT INTO request"
                ' (action, "order", item, cents, key, process, booked) VALUES (?, ?, ?, ?, ?, ?, ?)',
                (
                    request.action,
                    request.order,
                    request.item,
                    request.cents,
                    request.key,
                    request.process,
                    seen is None,
                ),
            )
            connection.execute("COMMIT")
        return seen is None

    def requests(self, order: str, action: str | None = None) -> list[Request]:
        """Everything that was asked for an order, oldest first."""
        with self._connection() as connection:
            rows = connection.execute(
                'SELECT action, "order", item, cents, key, process, booked FROM request'
                ' WHERE "order" = ? AND (? IS NULL OR action = ?) ORDER BY number',
                (order, action, action),
            ).fetchall()
        return [
            Request(
                action=row[0],
                order=row[1],
                item=row[2],
                cents=row[3],
                key=row[4],
                process=row[5],
                booked=bool(row[6]),
            )
            for row in rows
        ]

    @contextmanager
    def _connection(self) -> Generator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        try:
            yield connection
        finally:
            connection.close()
