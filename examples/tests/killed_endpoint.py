"""`python killed_endpoint.py EXAMPLE` posts orders, each in a process of its own, until one is not killed.

On SQLite the process kills itself: the first before its first statement, the second before its second,
and so on. On PostgreSQL the test kills it, from between it and the server. The example has been imported
once, before the forks. Each order has the number of its process.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "one-transaction"))


def die_before(statement: int) -> None:
    """Let the process die before it runs the statement of this number on SQLite."""
    numbers, connect = itertools.count(), sqlite3.connect

    def trace(_: str) -> None:
        if next(numbers) == statement:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(trace)
        return connection

    # Django has the other name.
    sqlite3.connect = sqlite3.dbapi2.connect = traced  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] # its stub hides the module


def browser_of(name: str, example: Any) -> Any:
    if name.startswith("fastapi"):
        from fastapi.testclient import TestClient

        return TestClient(example.web)
    from django.test import Client

    return Client()


def main(name: str) -> None:
    example = importlib.import_module(name)
    browser = browser_of(name, example)
    is_on_sqlite = not name.endswith("postgres")
    if is_on_sqlite:
        with closing(sqlite3.connect("shop.db")) as database, database:
            database.execute("CREATE TABLE orders (number TEXT PRIMARY KEY)")
        asyncio.run(example.prepare())
    for number in itertools.count():
        child = os.fork()
        if child == 0:
            if is_on_sqlite:
                die_before(number)
            answer = browser.post(f"/orders/{number:03}")
            os._exit(0 if answer.status_code == 201 else 1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1])
