"""The world outside: a bank, a warehouse and a courier, which know nothing of Perdure.

They keep a ledger in an SQLite file of their own. Like real services, they take an idempotency
key with each request: what they have booked under a key they do not book again. They undo only
what they have booked and not undone yet. Every request is written down beside that, so that the
ledger shows which process asked twice and what came of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS request (
    number INTEGER PRIMARY KEY, action TEXT, "order" TEXT, item TEXT, cents INTEGER, key TEXT,
    process INTEGER, booked INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS once ON request (action, key) WHERE booked;
"""


UNDOES = {"release": "reserve", "refund": "charge", "call back": "courier"}
"""Which action undoes which."""


class Answer(Enum):
    """What came of a request."""

    BOOKED = "booked"
    KNOWN = "known by its key: nothing happened"
    NOTHING_TO_UNDO = "nothing to undo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as the ledger has it."""

    action: str
    """`reserve`, `charge`, `courier`, or what undoes one of them."""
    order: str
    item: str
    cents: int
    key: str
    process: int
    """The process that asked."""
    booked: bool
    """False where nothing happened: the key was known, or there was nothing to undo."""


class Outside:
    """The ledger; any number of processes may hold one on the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._connection() as connection:
            connection.executescript(_TABLES)

    def ask(self, request: Request) -> Answer:
        """Book it, unless its key was booked before or it undoes what is not there."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            answer = _answer(connection, request)
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
                    answer is Answer.BOOKED,
                ),
            )
            connection.execute("COMMIT")
        return answer

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


def _answer(connection: sqlite3.Connection, request: Request) -> Answer:
    known = "SELECT 1 FROM request WHERE action = ? AND key = ? AND booked"
    if connection.execute(known, (request.action, request.key)).fetchone():
        return Answer.KNOWN
    undone = UNDOES.get(request.action)
    if undone is None:
        return Answer.BOOKED
    count = 'SELECT count(*) FROM request WHERE action = ? AND "order" = ? AND item = ? AND booked'
    done, back = (
        connection.execute(count, (action, request.order, request.item)).fetchone()[0]
        for action in (undone, request.action)
    )
    return Answer.BOOKED if done > back else Answer.NOTHING_TO_UNDO
