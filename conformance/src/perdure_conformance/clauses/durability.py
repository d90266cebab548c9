"""DURABLE and SHARED: what survives a close and a kill, and what processes share."""

from __future__ import annotations

import asyncio
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import Sequence

from perdure.contract import (
    PERSISTENT,
    SHARED,
    InstanceStatus,
)

from perdure_conformance.bench import PATIENCE, Bench
from perdure_conformance.check import check
from perdure_conformance.expect import ClauseBroken, expect, expect_equal
from perdure_conformance.processes import ACCEPTED, ACKNOWLEDGED, process
from perdure_conformance.samples import (
    delivered,
)
from perdure_conformance.workers import CHILD, STEPS, begin, expected_history


@check("DURABLE-2", needs=PERSISTENT)
async def acknowledged_calls_survive_a_kill(bench: Bench) -> None:
    """After a process was killed, every acknowledged call is there, and every other one took effect as a whole or not at all."""
    for kill_after in (4, 23):
        namespace = f"{bench.namespace}-{kill_after}"
        acknowledged = await written(bench, namespace, kill_after)
        bench.provider = await bench.open(namespace=namespace)
        await expect_whole(bench, acknowledged)


async def written(bench: Bench, namespace: str, kill_after: int) -> set[tuple[str, str]]:
    """Let a process write, kill it, and return the acknowledged calls."""
    lines: list[str] = []
    async with process("write", url_of(bench), namespace, "writer") as writer:
        while len(lines) < kill_after:
            lines.append(await line_of(writer))
        writer.kill()
        rest = (await writer.communicate())[0].decode().splitlines(keepends=True)
    lines += [line.strip() for line in rest if line.endswith("\n")]
    words = [line.split() for line in lines]
    return {(each[1], each[2]) for each in words if each[0] == ACKNOWLEDGED}


async def expect_whole(bench: Bench, acknowledged: set[tuple[str, str]]) -> None:
    """Complain unless every acknowledged call is there, and each instance is whole."""
    turns = {turn.state.instance: turn for turn in await bench.lease(limit=10_000)}
    activities = {each.instance for each in await bench.lease_work(limit=10_000)}
    names = sorted({instance for _, instance in acknowledged})
    following = f"i-{len(names) + 1:05}"
    for name in [*names, following]:
        calls = {call for call, instance in acknowledged if instance == name}
        state = await bench.provider.read_instance(name)
        expect(state is not None or not calls, f"{name} was acknowledged, and is lost")
        if state is None:
            continue
        committed = state.last_event == 2
        expect(committed or "commit" not in calls, f"a commit of {name} is lost")
        found = delivered(turns[name]) if name in turns else []
        if committed:
            expect_equal(found, ["two"], f"mailbox of {name} after its commit")
        else:
            wanted = [["start", "one", "two"]]
            wanted += [] if "send" in calls else [["start"], ["start", "one"]]
            expect(found in wanted, f"mailbox of {name}: {found}, expected one of {wanted}")
        expect_equal(len(await bench.history(name)), 2 if committed else 0, f"events of {name}")
        child = await bench.provider.read_instance(f"{name}-child")
        expect_equal(child is not None, committed, f"whether {name} has its child")
        expect_equal(name in activities, committed, f"whether {name} has its activity")


def url_of(bench: Bench) -> str:
    """The URL for other processes."""
    if bench.backend.url is None:
        raise ClauseBroken("the backend has no URL under which another process could open it")
    return bench.backend.url


async def line_of(other: Process) -> str:
    """The next line that a process prints."""
    if other.stdout is None or other.stderr is None:
        raise AssertionError("a process was started without pipes")
    try:
        async with asyncio.timeout(3 * PATIENCE):
            line = (await other.stdout.readline()).decode().strip()
    except TimeoutError:
        raise ClauseBroken(f"another process printed nothing within {3 * PATIENCE:g} s") from None
    if not line:
        complaint = (await other.stderr.read()).decode()
        raise ClauseBroken(f"another process stopped with an error:\n{complaint}")
    return line


@check("SHARED-1", needs=SHARED)
async def processes_share_the_work(bench: Bench) -> None:
    """Processes on one storage run each turn and each activity once, and fail in no call."""
    names = [f"i-{n:02}" for n in range(12)]
    accepted: Counter[tuple[str, str]] = Counter()
    async with (
        process("run", url_of(bench), bench.namespace, "p-1") as first,
        process("run", url_of(bench), bench.namespace, "p-2") as second,
        process("run", url_of(bench), bench.namespace, "p-3") as third,
    ):
        listeners = [
            asyncio.ensure_future(gather_accepted(each, accepted))
            for each in (first, second, third)
        ]
        try:
            await bench.all_well(begin(bench.provider, name) for name in names)
            await all_ended(bench, names, listeners)
        finally:
            for listener in listeners:
                listener.cancel()
            await asyncio.gather(*listeners, return_exceptions=True)
    for name in names:
        await expect_history(bench, name)
        await expect_history(bench, name + CHILD)
    wanted = {(f"{n}{tail}", str(s)) for n in names for tail in ("", CHILD) for s in range(STEPS)}
    twice = [each for each, count in accepted.items() if count > 1]
    expect_equal(twice, [], "activities whose result was accepted from two processes")
    expect(set(accepted) <= wanted, f"unknown activities {set(accepted) - wanted}")


async def gather_accepted(other: Process, accepted: Counter[tuple[str, str]]) -> None:
    """Collect the accepted results of a process, until cancelled."""
    if other.stdout is None or other.stderr is None:
        raise AssertionError("a process was started without pipes")
    while line := (await other.stdout.readline()).decode():
        word, instance, activity = line.split()
        accepted[instance, activity] += word == ACCEPTED
    complaint = (await other.stderr.read()).decode()
    raise ClauseBroken(f"another process stopped with an error:\n{complaint}")


async def all_ended(
    bench: Bench, names: list[str], listeners: Sequence[asyncio.Future[None]]
) -> None:
    """Wait in real time, as the other processes do, until every instance has ended."""
    deadline = time.monotonic() + 3 * PATIENCE
    waiting = list(names)
    while waiting:
        for listener in listeners:
            if listener.done():
                listener.result()
        states = [await bench.state(name) for name in waiting]
        waiting = [each.instance for each in states if each.status is InstanceStatus.RUNNING]
        expect(time.monotonic() < deadline, f"{len(waiting)} instances did not end: {waiting}")
        await asyncio.sleep(0.02)


async def expect_history(bench: Bench, instance: str) -> None:
    """Complain unless everything is recorded once."""
    found = sorted(each.data.decode() for each in await bench.history(instance))
    expect_equal(found, expected_history(instance), f"history of {instance}")
