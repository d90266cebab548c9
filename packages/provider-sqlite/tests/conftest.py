"""What the tests of the SQLite provider share: real files, a clock moved by hand, short records."""

import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from perdure.contract import (
    ActivityLease,
    ActivityRequest,
    Clock,
    LeasedActivity,
    LeasedTurn,
    ManualClock,
    Message,
    MessageKind,
    NewInstance,
    Provider,
    Serves,
    TurnCommit,
    TurnRequest,
)
from perdure_conformance.samples import commit_of, new_instance
from perdure_sqlite import SQLiteOptions, SQLiteProvider

LEASE = timedelta(seconds=30)
RUNTIME = "runtime"


class Make:
    """Records with the fields that a test doesn't care for filled in."""

    def __init__(self) -> None:
        self._count = 0

    def unique(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._count}"

    def new(self, instance: str, *, incarnation: str = "one", **fields: Any) -> NewInstance:
        given: dict[str, Any] = {"name": "process", "data": b"input", **fields}
        return new_instance(instance, incarnation=incarnation, **given)

    def event(self, instance: str, **fields: Any) -> Message:
        given: dict[str, Any] = {"id": self.unique("event"), "data": b"event", **fields}
        return Message(instance=instance, kind=MessageKind.EVENT, **given)

    def request(self, **fields: Any) -> TurnRequest:
        given: dict[str, Any] = {"token": self.unique("token"), "limit": 10, **fields}
        serves = Serves(orchestrations={"process": frozenset({"1.0.0"})})
        return replace(TurnRequest(token="", limit=0, lease_for=LEASE, serves=serves), **given)

    def activity_lease(self, instance: str, activity: str, token: str = RUNTIME) -> ActivityLease:
        return ActivityLease(instance=instance, activity=activity, token=token)

    def commit(self, turn: LeasedTurn, **fields: Any) -> TurnCommit:
        given = {
            "id": self.unique("commit"),
            "remove": (),
            "activity_token": RUNTIME,
            "activity_lease_for": LEASE,
            **fields,
        }
        return commit_of(turn, **given)


class Desk:
    """Opens providers on one file, and does the usual steps with them."""

    def __init__(self, path: Path, stack: AsyncExitStack, make: Make) -> None:
        self.path = path
        self.clock = ManualClock()
        self._stack = stack
        self._make = make

    async def open(self, *, clock: Clock | None = None, **options: Any) -> SQLiteProvider:
        given: dict[str, Any] = {"path": self.path, **options}
        provider = SQLiteProvider(SQLiteOptions(**given), clock=clock or self.clock)
        return await self._stack.enter_async_context(provider)

    async def leased(self, provider: Provider, instance: str, **fields: Any) -> LeasedTurn:
        await provider.create_instance(self._make.new(instance, **fields))
        turns = await provider.lease_turns(self._make.request())
        return next(turn for turn in turns if turn.state.instance == instance)

    async def activities(self, provider: Provider, **fields: Any) -> list[LeasedActivity]:
        given: dict[str, Any] = {"token": self._make.unique("worker"), "limit": 10, **fields}
        request = ActivityRequest(token="", limit=0, lease_for=LEASE, names=frozenset({"work"}))
        return list(await provider.lease_activities(replace(request, **given)))

    def raw(self) -> sqlite3.Connection:
        """A connection beside the providers, as another program has."""
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=0)
        self._stack.callback(connection.close)
        return connection


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
async def desk(tmp_path: Path, make: Make) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        yield Desk(tmp_path / "x.db", stack, make)


@pytest.fixture
def in_a_process(tmp_path: Path) -> Callable[[str], Any]:
    """Starts a Python program in another process, whose directory is the test's."""

    def start(program: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start
