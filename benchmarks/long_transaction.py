"""PostgreSQL while a transaction elsewhere stays open: `python -m benchmarks.long_transaction [--minutes N]`.

Two databases of one server have the same load, in slices that alternate. In one of them a transaction
holds a snapshot from the beginning on, so that vacuum removes nothing there: a snapshot holds back
vacuum in its own database alone. What the first and the last third of the slices give is compared,
because dead rows gather with the time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import perdure
import psycopg

from benchmarks.databases import databases
from benchmarks.measuring import DATABASE
from benchmarks.workloads.functions import STEPS, chain, play_chains, running

CHAINS = 100
"""Chains of five activities that run at once."""
PROBES = 20
"""Orchestrations with one activity that are timed one after the other at the end of a slice."""
SLICE = 4.0
"""Seconds of chains in a slice."""
_TOUCHED = "SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()"
_DEAD = "SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables WHERE schemaname = 'perdure'"
_BACKENDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"


@dataclass(frozen=True)
class Slice:
    """What one slice gave."""

    activities: float
    """Chains' activities in a second."""
    latency: float
    """Milliseconds from a start to the result of one activity, at the median."""
    processor: float
    """Milliseconds of the server's processor time for each activity."""
    pages: float
    """Pages that the server touched for each activity."""


@dataclass
class Side:
    """One of the two databases, with a runtime that works on it."""

    name: str
    client: perdure.Client
    watching: psycopg.Connection[Any]
    slices: list[Slice] = field(default_factory=list[Slice])

    async def play(self) -> None:
        """One slice: chains again and again, then single orchestrations."""
        STEPS.clear()
        number = len(self.slices)
        began, processor, pages = time.perf_counter(), self._processor(), self._ask(_TOUCHED)
        rounds = 0
        while time.perf_counter() - began < SLICE:
            await play_chains(self.client, f"{number}-{rounds}", CHAINS)
            rounds += 1
        seconds, count = time.perf_counter() - began, rounds * CHAINS * 5
        # The server's statistics of a connection are a second behind.
        await asyncio.sleep(1.2)
        pages = (self._ask(_TOUCHED) - pages) / count
        processor = (self._processor() - processor) * 1000 / count
        latencies = [await self._probe(f"probe-{number}-{probe}") for probe in range(PROBES)]
        self.slices.append(Slice(count / seconds, median(latencies), processor, pages))

    async def rest(self, seconds: float) -> float:
        """The server's processor time while there is no work, as a part of a core, in percent."""
        # What was before costs a little longer.
        await asyncio.sleep(1.2)
        began, processor = time.perf_counter(), self._processor()
        await asyncio.sleep(seconds)
        return (self._processor() - processor) / (time.perf_counter() - began) * 100

    def dead_rows(self) -> int:
        """How many rows vacuum has left, as far as the server knows."""
        return int(self._ask(_DEAD))

    async def _probe(self, instance: str) -> float:
        began = time.perf_counter()
        handle = await self.client.start_orchestration(instance, chain, 1)
        await handle.result(timeout=60)
        return (time.perf_counter() - began) * 1000

    def _ask(self, query: str) -> float:
        [(found,)] = self.watching.execute(query.encode()).fetchall()
        return float(found)

    def _processor(self) -> float:
        """Seconds that the connections to this database have used."""
        ticks = 0
        for (pid,) in self.watching.execute(_BACKENDS.encode()).fetchall():
            fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:13]))
        return ticks / 100


async def play(free: str, held: str, minutes: float) -> tuple[Side, Side]:
    """Slices of both sides in turn, for so long."""
    async with AsyncExitStack() as stack:
        sides = [
            await stack.enter_async_context(side(name, url))
            for name, url in (("without", free), ("with", held))
        ]
        with psycopg.connect(held) as elsewhere:
            elsewhere.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            elsewhere.execute("SELECT count(*) FROM perdure.turns")
            await take_turns(sides, minutes)
            for each in sides:
                print(
                    f"{each.name} the open transaction: {each.dead_rows():,} dead rows at the end"
                )
        return sides[0], sides[1]


@asynccontextmanager
async def side(name: str, url: str) -> AsyncGenerator[Side]:
    """A side whose runtime works on this database."""
    async with running(f"{url}&create=true") as client:
        with psycopg.connect(url, autocommit=True) as watching:
            yield Side(name, client, watching)


async def take_turns(sides: Sequence[Side], minutes: float) -> None:
    """Play slices of the sides in turn, for so long; three of each at least."""
    ends = time.monotonic() + 60 * minutes
    while time.monotonic() < ends or len(sides[0].slices) < 3:
        # The order changes, so that none of the two is always the later one.
        for each in sides if len(sides[0].slices) % 2 == 0 else sides[::-1]:
            await each.play()
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def report(without: Sequence[Slice], held: Sequence[Slice]) -> None:
    """The ratios of slices that were played side by side: the first third, and the last."""
    third = max(1, len(held) // 3)
    figures: list[tuple[str, Callable[[Slice], float]]] = [
        ("activities/s", lambda each: each.activities),
        ("start to result, ms", lambda each: each.latency),
        ("server's processor time, ms an activity", lambda each: each.processor),
        ("pages touched, an activity", lambda each: each.pages),
    ]
    print(
        f"{len(held)} pairs of slices of {SLICE:g} s; medians, and ratios of pairs with / without"
    )
    for name, of in figures:
        ratios = [of(one) / of(other) for one, other in zip(held, without, strict=True)]
        print(
            f"{name:40} without {median(map(of, without)):9.2f}   with {median(map(of, held)):9.2f}"
            f"   first third {median(ratios[:third]):.2f}   last third {median(ratios[-third:]):.2f}"
        )


def main() -> None:
    """Play both, and print the comparison."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_transaction")
    parser.add_argument("--minutes", type=float, default=3.0, help="default: 3")
    minutes: float = parser.parse_args().minutes
    with databases() as server, server.one(0) as free, server.one(0) as held:
        without, beside = asyncio.run(play(free[DATABASE], held[DATABASE], minutes))
    report(without.slices, beside.slices)


if __name__ == "__main__":
    main()
