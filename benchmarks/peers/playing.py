"""The rows for a peer: the same work as for Perdure, on what every engine can do.

An engine runs flows, whose names and meanings are those of `benchmarks.workloads.functions`. It is
driven by one coroutine, so an engine whose client blocks may block.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from asyncio.subprocess import DEVNULL
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import Lap, Measured, lap, peak_mib, peak_mib_of, processor_seconds

_WIDTH = 100
_PAYLOAD = 100_000
_A_DAY = 86_400
_WOKEN = 20
_AT_ONCE = 500
_NEW_CHAINS = 200


class Activities:
    """What the engine's activities call: it notes when each ran."""

    def __init__(self) -> None:
        # Appending is one step for threads too, which counting is not.
        self.times: list[float] = []

    def nothing(self, value: Any) -> Any:
        """Return the value."""
        self.times.append(time.perf_counter())
        return value


class Engine(ABC):
    """A peer with a worker that runs in this process, and a client beside it."""

    def __init__(self, activities: Activities) -> None:
        self.activities = activities

    @abstractmethod
    async def start(self, flow: str, inputs: Mapping[str, Any]) -> None:
        """Start flows at once, each with its id and its input."""

    @abstractmethod
    async def results(self, ids: Sequence[str]) -> list[Any]:
        """Wait for flows, and return what they returned."""

    @abstractmethod
    async def send(self, ids: Sequence[str], value: Any) -> None:
        """Send an event to each flow, all at once."""

    async def run(self, flow: str, instance: str, value: Any) -> Any:
        """Start one flow and wait for it, in the quickest way that there is."""
        await self.start(flow, {instance: value})
        return (await self.results([instance]))[0]

    def busy(self) -> bool:
        """Whether it knows of work that is left, where it can tell."""
        return False

    @property
    def servers(self) -> Sequence[int]:
        """Processes that the engine started: their processor time and memory count."""
        return ()


Opening = Callable[[str, Path, Activities], AbstractAsyncContextManager[Engine]]
"""Opens the engine for a row in an empty folder; opened again there, it goes on with what is stored."""


class WrongError(Exception):
    """The engine returned something else, or did not do the work."""


def main(
    opening: Opening, loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
) -> None:
    """Play the row of the command line, and print what it gave."""
    row, size, folder = sys.argv[1:]
    # What engines print must not be taken for the result.
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with asyncio.Runner(loop_factory=loop) as runner:
        measured = runner.run(_PROGRAMS[row](opening, Path(folder), int(size)))
    measured.peak_mib += peak_mib()
    json.dump(measured.plain(), result)
    result.flush()
    # Threads of an engine that do not end must not hold the next run up.
    os._exit(0)


class _Played:
    """An engine that is warm, and the checks of what it did."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.idle = 0.0
        """The share of a core that it uses without work, in %."""

    async def flows(self, flow: str, inputs: Mapping[str, Any], expected: Any) -> None:
        """Start flows at once and wait for all; each returns what is expected."""
        await self.engine.start(flow, inputs)
        await self.ended(list(inputs), expected)

    async def ended(self, ids: Sequence[str], expected: Any) -> list[Any]:
        """The results of flows; None is expected where any is right."""
        found = await self.engine.results(ids)
        if len(found) != len(ids) or (expected is not None and found != [expected] * len(ids)):
            wrong = next((each for each in found if each != expected), None)
            raise WrongError(f"{len(found)} of {len(ids)} flows ended, one with {wrong!r}")
        return found

    async def one(self, flow: str, instance: str, value: Any, expected: Any) -> None:
        """Run one flow."""
        if (found := await self.engine.run(flow, instance, value)) != expected:
            raise WrongError(f"{flow} returned {found!r}, not {expected!r}")


class _Opened:
    def __init__(self, opening: Opening, row: str, folder: Path) -> None:
        self._context = opening(row, folder, Activities())

    async def __aenter__(self) -> _Played:
        played = _Played(await self._context.__aenter__())
        await played.one("chain", f"warm-up-{time.time_ns()}", 3, 3)
        played.engine.activities.times.clear()
        played.idle = await _idle_share(played, 0.5)
        return played

    async def __aexit__(self, *error: object) -> None:
        await self._context.__aexit__(*error)  # pyright: ignore[reportArgumentType]


def _measured(
    played: _Played, took: Lap, figure: float, *, done: int, ran: int, samples: Sequence[float] = ()
) -> Measured:
    """With the check that at least so many activities ran; an engine may run one again."""
    times = len(played.engine.activities.times)
    if times < ran:
        raise WrongError(f"{times} activities ran, not {ran}")
    notes = {"activities run again": float(times - ran)} if times > ran else {}
    return Measured(
        figure=figure,
        samples_ms=list(samples),
        operations=done,
        cpu_seconds=took.cpu_seconds,
        # That of this process is added when it ends.
        peak_mib=sum(map(peak_mib_of, played.engine.servers)),
        notes=notes,
    )


async def _chains(opening: Opening, folder: Path, count: int) -> Measured:
    async with _Opened(opening, "chains", folder) as played:
        with lap(played.engine.servers) as took:
            await played.flows("chain", {f"chain-{n}": 5 for n in range(count)}, 5)
        done = 5 * count
        return _measured(played, took, done / took.seconds, done=done, ran=done)


async def _fan_outs(opening: Opening, folder: Path, count: int) -> Measured:
    async with _Opened(opening, "fan_outs", folder) as played:
        with lap(played.engine.servers) as took:
            await played.flows("fan_out", {f"fan-{n}": _WIDTH for n in range(count)}, _WIDTH)
        done = _WIDTH * count
        return _measured(played, took, done / took.seconds, done=done, ran=done)


async def _latency(opening: Opening, folder: Path, count: int) -> Measured:
    samples: list[float] = []
    async with _Opened(opening, "latency", folder) as played:
        with lap(played.engine.servers) as took:
            for number in range(count):
                began = time.perf_counter()
                await played.one("chain", f"latency-{number}", 1, 1)
                samples.append((time.perf_counter() - began) * 1000)
        return _measured(played, took, median(samples), done=count, ran=count, samples=samples)


async def _long_chain(opening: Opening, folder: Path, length: int) -> Measured:
    async with _Opened(opening, "long_chain", folder) as played:
        with lap(played.engine.servers) as took:
            await played.flows("chain", {"long": length}, length)
        times = played.engine.activities.times
        gaps = [(after - before) * 1000 for before, after in itertools.pairwise(times)]
        tenth = max(1, len(gaps) // 10)
        measured = _measured(played, took, median(gaps), done=length, ran=length, samples=gaps)
        measured.notes["second tenth, ms"] = median(gaps[tenth : 2 * tenth])
        measured.notes["last tenth, ms"] = median(gaps[-tenth:])
        return measured


async def _timers(opening: Opening, folder: Path, count: int) -> Measured:
    async with _Opened(opening, "timers", folder) as played:
        inputs = {f"timer-{n}": 3.0 + n / count for n in range(count)}
        with lap(played.engine.servers) as took:
            await played.engine.start("timer", inputs)
            late = await played.ended(list(inputs), None)
        samples = [seconds * 1000 for seconds in late]
        return _measured(played, took, median(samples), done=count, ran=0, samples=samples)


async def _events(opening: Opening, folder: Path, count: int) -> Measured:
    async with _Opened(opening, "events", folder) as played:
        ids = [f"event-{n}" for n in range(count)]
        await played.engine.start("one_event", dict.fromkeys(ids, 0))
        await _at_rest(played)
        with lap(played.engine.servers) as took:
            await played.engine.send(ids, 1)
            await played.ended(ids, 1)
        return _measured(played, took, count / took.seconds, done=count, ran=0)


async def _replay(opening: Opening, folder: Path, events: int) -> Measured:
    """In a process that has not seen the flow; the one that made its history has ended."""
    length = events // 2 - 1
    module = sys.modules["__main__"].__spec__
    words = [sys.executable, "-m", module.name if module else "", "history", str(length), folder]
    made = await asyncio.create_subprocess_exec(*words, stdout=DEVNULL)
    if await made.wait():
        raise WrongError("the history could not be made")
    async with _Opened(opening, "replay", folder) as played:
        await _at_rest(played)
        with lap(played.engine.servers) as took:
            await played.engine.send(["replayed"], 1)
            await played.ended(["replayed"], 1)
        return _measured(played, took, events / took.seconds, done=events, ran=0)


async def _history(opening: Opening, folder: Path, length: int) -> Measured:
    """What another process replays: a chain that waits for an event."""
    async with _Opened(opening, "replay", folder) as played:
        await played.engine.start("chain_and_wait", {"replayed": length})
        while len(played.engine.activities.times) < length:  # noqa: ASYNC110 # activities only count
            await asyncio.sleep(0.02)
        await _at_rest(played)
    return Measured(figure=0.0)


async def _payloads(opening: Opening, folder: Path, count: int) -> Measured:
    async with _Opened(opening, "payloads", folder) as played:
        inputs = {f"payload-{n}": "x" * _PAYLOAD for n in range(count)}
        with lap(played.engine.servers) as took:
            await played.flows("payload_chain", inputs, _PAYLOAD)
        done = 5 * count
        return _measured(played, took, done / took.seconds, done=done, ran=done)


async def _crowd_beside_chain(opening: Opening, folder: Path, width: int) -> Measured:
    async with _Opened(opening, "crowd_beside_chain", folder) as played:
        with lap(played.engine.servers) as took:
            await played.engine.start("fan_out", {"crowd": width})
            await asyncio.sleep(0.01)
            began = time.perf_counter()
            await played.one("chain", "beside", 5, 5)
            beside = (time.perf_counter() - began) * 1000
            await played.ended(["crowd"], width)
        measured = _measured(played, took, beside, done=width, ran=width + 5)
        measured.notes["the fan-out, s"] = took.seconds
        return measured


async def _sleeping(opening: Opening, folder: Path, count: int) -> Measured:
    return await _crowd(opening, folder, "sleeping", "sleeper", count)


async def _waiting(opening: Opening, folder: Path, count: int) -> Measured:
    return await _crowd(opening, folder, "waiting", "one_event", count)


async def _crowd(opening: Opening, folder: Path, row: str, flow: str, count: int) -> Measured:
    samples: list[float] = []
    async with _Opened(opening, row, folder) as played:
        with lap(played.engine.servers) as took:
            for begin in range(0, count, _AT_ONCE):
                numbers = range(begin, min(begin + _AT_ONCE, count))
                await played.engine.start(flow, {f"crowd-{n}": _A_DAY for n in numbers})
            await _at_rest(played)
        idle = await _idle_share(played, 5.0)
        for number in range(0, count, max(1, count // _WOKEN)):
            began = time.perf_counter()
            await played.engine.send([f"crowd-{number}"], 1)
            await played.ended([f"crowd-{number}"], 1)
            samples.append((time.perf_counter() - began) * 1000)
        measured = _measured(played, took, median(samples), done=count, ran=0, samples=samples)
        measured.notes |= {"idle, % of a core": idle, "to rest, s": took.seconds}
        return measured


async def _idle(opening: Opening, folder: Path, seconds: int) -> Measured:
    async with _Opened(opening, "idle", folder) as played:
        await asyncio.sleep(1.0)
        servers = sum(map(peak_mib_of, played.engine.servers))
        return Measured(figure=await _idle_share(played, seconds), peak_mib=servers)


async def _stored(opening: Opening, folder: Path, count: int) -> Measured:
    samples: list[float] = []
    async with _Opened(opening, "stored", folder) as played:
        for begin in range(0, count, _AT_ONCE):
            numbers = range(begin, min(begin + _AT_ONCE, count))
            await played.flows("chain", {f"old-{n}": 5 for n in numbers}, 5)
        played.engine.activities.times.clear()
        with lap(played.engine.servers) as took:
            await played.flows("chain", {f"new-{n}": 5 for n in range(_NEW_CHAINS)}, 5)
        done = 5 * _NEW_CHAINS
        measured = _measured(played, took, done / took.seconds, done=done, ran=done)
        for number in range(20):
            began = time.perf_counter()
            await played.engine.start("chain", {f"start-{number}": 1})
            samples.append((time.perf_counter() - began) * 1000)
            await played.ended([f"start-{number}"], 1)
        measured.samples_ms = samples
        measured.notes["start, ms"] = median(samples)
        return measured


async def _at_rest(played: _Played) -> None:
    """Wait until the engine uses little more of a core than before it had work.

    Or always the same share, as one that polls for each flow that waits; or 40 s.
    """
    shares: list[float] = []
    for _ in range(80):
        shares.append(await _idle_share(played, 0.5))
        last = shares[-4:]
        steady = len(last) == 4 and max(last) < 1.2 * min(last) and max(last) < 80.0
        quiet = len(last) > 1 and max(last[-2:]) < 1.5 * played.idle + 5.0
        if (quiet or steady) and not played.engine.busy():
            return


async def _idle_share(played: _Played, seconds: float) -> float:
    servers = played.engine.servers
    before, began = processor_seconds(servers), time.perf_counter()
    await asyncio.sleep(seconds)
    return (processor_seconds(servers) - before) / (time.perf_counter() - began) * 100


_PROGRAMS: Mapping[str, Callable[[Opening, Path, int], Coroutine[Any, Any, Measured]]] = {
    "chains": _chains,
    "fan_outs": _fan_outs,
    "latency": _latency,
    "long_chain": _long_chain,
    "timers": _timers,
    "events": _events,
    "replay": _replay,
    "payloads": _payloads,
    "crowd_beside_chain": _crowd_beside_chain,
    "sleeping": _sleeping,
    "waiting": _waiting,
    "idle": _idle,
    "stored": _stored,
    "history": _history,
}
ROWS = frozenset(_PROGRAMS) - {"history"}
