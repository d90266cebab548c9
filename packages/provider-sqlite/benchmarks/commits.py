"""How many turns a second the SQLite provider commits. Bounded; prints, asserts nothing.

    python benchmarks/commits.py [--turns N] [--callers N ...] [--durability full|normal] [--mail]

Each turn is small: it appends three events, finishes one activity, adds the next one leased, and
keeps its lease; with --mail it also sends a timer and removes the one of the turn before. Callers run side by side, one instance each, so that the
provider can group what they commit.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import sqlalchemy
from perdure.contract import (
    ActivityLease,
    LeasedTurn,
    Message,
    MessageKind,
    NewActivity,
    NewInstance,
    Serves,
    TurnCommit,
    TurnRequest,
)
from perdure_sqlite import SQLiteOptions, SQLiteProvider

LEASE = timedelta(seconds=60)
LEASE_TOKEN = "lease"  # noqa: S105 # a name of a lease
ACTIVITY_TOKEN = "runtime"  # noqa: S105 # a name of leases
EVENT = b'{"kind":"activity_completed","event":2,"result":"ok","at":1790000000000000}'


def main() -> None:
    """Measure each number of callers, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=6000)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 10, 100, 500])
    parser.add_argument("--durability", choices=("full", "normal"), default="full")
    parser.add_argument("--mail", action="store_true", help="each turn also sends one, removes one")
    parser.add_argument("--directory", type=Path, default=None)
    options = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()};"
        f" Python {platform.python_version()}, SQLite {sqlite3.sqlite_version},"
        f" SQLAlchemy {sqlalchemy.__version__}; durability {options.durability}"
    )
    for callers in options.callers:
        with tempfile.TemporaryDirectory(dir=options.directory) as directory:
            file = SQLiteOptions(path=Path(directory) / "x.db", durability=options.durability)
            asyncio.run(measure(file, callers, options.turns, mail=options.mail))


async def measure(options: SQLiteOptions, callers: int, turns: int, *, mail: bool) -> None:
    """Run the turns, and print their rate and the percentiles of their durations."""
    async with SQLiteProvider(options) as provider:
        leased = await begin(provider, callers)
        each = max(1, turns // callers)
        began, cpu = time.perf_counter(), time.process_time()
        durations = await asyncio.gather(
            *(run(provider, turn.state.instance, each, mail=mail) for turn in leased)
        )
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    spent = sorted(duration for one in durations for duration in one)
    print(
        f"{callers:5} callers: {len(spent) / seconds:8.0f} turns/s,"
        f" {1e6 * cpu / len(spent):5.0f} µs of processor each;"
        f" ms p50 {at(spent, 0.5):.2f}, p95 {at(spent, 0.95):.2f}, p99 {at(spent, 0.99):.2f},"
        f" longest {at(spent, 1):.2f}"
    )


def at(durations: Sequence[float], part: float) -> float:
    """The duration below which this part of them lies, in milliseconds."""
    return 1000 * durations[min(len(durations) - 1, int(part * len(durations)))]


async def begin(provider: SQLiteProvider, callers: int) -> list[LeasedTurn]:
    """Create and lease an instance for each caller, and add its first activity."""
    for number in range(callers):
        instance = f"order-{number}"
        start = Message(
            id="start", instance=instance, kind=MessageKind.START, data=b"{}", incarnation="i"
        )
        await provider.create_instance(
            NewInstance(instance=instance, incarnation="i", name="process", start=start)
        )
    serves = Serves(orchestrations={"process": frozenset()})
    leased = await provider.lease_turns(
        TurnRequest(token=LEASE_TOKEN, limit=callers, lease_for=LEASE, serves=serves)
    )
    for turn in leased:
        commit = TurnCommit(
            id="begin",
            instance=turn.state.instance,
            incarnation="i",
            token=LEASE_TOKEN,
            execution=1,
            expected_event=0,
            remove=("start",),
            add=(NewActivity(id="0", name="work", data=b"{}", lease=True),),
            activity_token=ACTIVITY_TOKEN,
            activity_lease_for=LEASE,
            keep_for=LEASE,
        )
        await provider.commit_turn(commit)
    return list(leased)


async def run(provider: SQLiteProvider, instance: str, turns: int, *, mail: bool) -> list[float]:
    """Commit turns of one instance, one after the other; returns how long each took."""
    durations: list[float] = []
    for turn in range(turns):
        commit = TurnCommit(
            id=f"turn-{turn}",
            instance=instance,
            incarnation="i",
            token=LEASE_TOKEN,
            execution=1,
            expected_event=3 * turn,
            events=(EVENT, EVENT, EVENT),
            remove=(f"message-{turn}",),
            finish=(ActivityLease(instance=instance, activity=str(turn), token=ACTIVITY_TOKEN),),
            add=(NewActivity(id=str(turn + 1), name="work", data=b"{}", lease=True),),
            send=(_message(instance, turn + 1),) if mail else (),
            activity_token=ACTIVITY_TOKEN,
            activity_lease_for=LEASE,
            keep_for=LEASE,
        )
        began = time.perf_counter()
        await provider.commit_turn(commit)
        durations.append(time.perf_counter() - began)
    return durations


def _message(instance: str, turn: int) -> Message:
    return Message(
        id=f"message-{turn}",
        instance=instance,
        kind=MessageKind.TIMER,
        data=b"{}",
        incarnation="i",
        visible_at=2**50,
    )


if __name__ == "__main__":
    main()
