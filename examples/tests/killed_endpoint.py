"""`python killed_endpoint.py FRAMEWORK` kills an endpoint at each of its points, in a child for each.

Each order is named after its point. The example has been imported once, before the forks.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import perdure

sys.path.insert(0, str(Path(__file__).parents[1] / "one-transaction"))


def kill_at(owner: Any, name: str, *, after: bool) -> None:
    """Let the process die before or after a call of this method."""
    method = getattr(owner, name)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def finish(call: Any) -> None:
        await call
        die()

    def killed(*arguments: Any, **options: Any) -> Any:
        if not after:
            die()
        result = method(*arguments, **options)
        if inspect.isawaitable(result):
            return finish(result)
        return die()

    setattr(owner, name, killed)


def main(framework: str) -> None:
    with closing(sqlite3.connect("shop.db")) as database, database:
        database.execute("CREATE TABLE orders (number TEXT PRIMARY KEY)")
    if framework == "fastapi":
        import aiosqlite
        import fastapi_orders as example
        from fastapi.testclient import TestClient

        inserts, client, commits = (
            (aiosqlite.Connection, "execute"),
            perdure.Client,
            aiosqlite.Connection,
        )
        browser = TestClient(example.web)
    else:
        import django_orders as example
        from django.db.backends.base.base import BaseDatabaseWrapper
        from django.db.models import QuerySet
        from django.test import Client as Browser

        inserts, client, commits = (QuerySet, "create"), perdure.BlockingClient, BaseDatabaseWrapper
        browser = Browser()
    asyncio.run(example.prepare())
    points = {
        "before-insert": (*inserts, False),
        "after-insert": (*inserts, True),
        "after-start": (client, "start_orchestration", True),
        "before-commit": (commits, "commit", False),
        "after-commit": (commits, "commit", True),
    }
    for name, (owner, method, after) in points.items():
        child = os.fork()
        if child == 0:
            kill_at(owner, method, after=after)
            browser.post(f"/orders/{name}")
            os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(f"the process was not killed at {name}")


if __name__ == "__main__":
    main(sys.argv[1])
