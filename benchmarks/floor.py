"""The floor: what the same rows cost as bare statements on `sqlite3`, with no engine at all.

A loop in one thread plays the instances. It writes what a durable engine has to write: the events of
each turn, the state of the instance, and the activity that was added or is done. What is ready
together is one transaction, whose commit is on disk before the next begins. Nothing is leased,
checked, decoded or notified, so no engine reaches this; the distance says what an engine costs.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from benchmarks.measuring import Measured, lap

_EVENT = b'{"kind":"ActivityCompleted","at":1790000000000000,"scheduled":2,"result":"1"}'
_GROUP = 64
"""The most turns in one transaction."""

_TABLES = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=FULL;
CREATE TABLE instances (id TEXT PRIMARY KEY, last_event INTEGER, status INTEGER) WITHOUT ROWID;
CREATE TABLE events (id TEXT, number INTEGER, data BLOB, PRIMARY KEY (id, number)) WITHOUT ROWID;
CREATE TABLE activities (id TEXT, number INTEGER, data BLOB, PRIMARY KEY (id, number)) WITHOUT ROWID;
"""


class _Store:
    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(_TABLES)

    def close(self) -> None:
        self._connection.close()

    def create(self, ids: Sequence[str]) -> None:
        """Store new instances, in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO instances VALUES (?, 0, 0)", [(i,) for i in ids])
        self._connection.execute("COMMIT")

    def turns(self, ids: Sequence[str], step: int, *, adds: int = 1) -> None:
        """One turn of each instance: it takes what came and adds activities."""
        for begin in range(0, len(ids), _GROUP):
            self._connection.execute("BEGIN IMMEDIATE")
            for instance in ids[begin : begin + _GROUP]:
                self._turn(instance, step, adds)
            self._connection.execute("COMMIT")

    def _turn(self, instance: str, step: int, adds: int) -> None:
        execute, first = self._connection.execute, step * 256
        execute("INSERT INTO events VALUES (?, ?, ?)", (instance, first, _EVENT))
        for number in range(1, adds + 1):
            execute("INSERT INTO events VALUES (?, ?, ?)", (instance, first + number, _EVENT))
            execute("INSERT INTO activities VALUES (?, ?, ?)", (instance, first + number, _EVENT))
        execute("DELETE FROM activities WHERE id = ? AND number < ?", (instance, first))
        execute(
            "UPDATE instances SET last_event = ?, status = ? WHERE id = ?",
            (first + adds, 0 if adds else 1, instance),
        )


def _chains(store: _Store, count: int) -> Measured:
    ids = [f"chain-{number}" for number in range(count)]
    with lap() as took:
        store.create(ids)
        for step in range(6):
            store.turns(ids, step, adds=1 if step < 5 else 0)
    done = 5 * count
    return Measured(figure=done / took.seconds, operations=done, cpu_seconds=took.cpu_seconds)


def _fan_outs(store: _Store, count: int) -> Measured:
    ids = [f"fan-{number}" for number in range(count)]
    with lap() as took:
        store.create(ids)
        store.turns(ids, 0, adds=100)
        store.turns(ids, 1, adds=0)
    done = 100 * count
    return Measured(figure=done / took.seconds, operations=done, cpu_seconds=took.cpu_seconds)


def _latency(store: _Store, count: int) -> Measured:
    samples: list[float] = []
    with lap() as took:
        for number in range(count):
            began = time.perf_counter()
            instance = [f"latency-{number}"]
            store.create(instance)
            store.turns(instance, 0)
            store.turns(instance, 1, adds=0)
            samples.append((time.perf_counter() - began) * 1000)
    return _of(samples, count, took.cpu_seconds)


def _long_chain(store: _Store, length: int) -> Measured:
    samples: list[float] = []
    store.create(["long"])
    with lap() as took:
        for step in range(length):
            began = time.perf_counter()
            store.turns(["long"], step)
            samples.append((time.perf_counter() - began) * 1000)
    return _of(samples, length, took.cpu_seconds)


def _of(samples: list[float], count: int, cpu_seconds: float) -> Measured:
    return Measured(
        figure=median(samples), samples_ms=samples, operations=count, cpu_seconds=cpu_seconds
    )


def _events(store: _Store, count: int) -> Measured:
    ids = [f"event-{number}" for number in range(count)]
    store.create(ids)
    with lap() as took:
        store.turns(ids, 0)  # the events arrive
        store.turns(ids, 1, adds=0)
    return Measured(figure=count / took.seconds, operations=count, cpu_seconds=took.cpu_seconds)


_ROWS: Mapping[str, Callable[[_Store, int], Measured]] = {
    "chains": _chains,
    "fan_outs": _fan_outs,
    "latency": _latency,
    "long_chain": _long_chain,
    "events": _events,
}
ROWS = frozenset(_ROWS)


def play(row: str, size: int, path: str) -> Measured:
    """Play a row in a new file."""
    store = _Store(path)
    try:
        return _ROWS[row](store, size)
    finally:
        store.close()
