"""SHARED-2: waits that another process ends."""

from __future__ import annotations

from asyncio.subprocess import Process
from collections.abc import Awaitable

from perdure.clock import SystemClock
from perdure.contract import SHARED, ChangeWait, Provider, WorkWait

from perdure_conformance.bench import Bench
from perdure_conformance.check import check
from perdure_conformance.clauses.durability import line_of, url_of
from perdure_conformance.clauses.waiting import MINUTE
from perdure_conformance.clauses.waking import all_end_soon
from perdure_conformance.expect import expect
from perdure_conformance.processes import process
from perdure_conformance.samples import SERVES, WORK


@check("SHARED-2", needs=SHARED)
async def waits_end_by_other_processes(bench: Bench) -> None:
    """The waits for work and for changes end by what another process does, where the provider tells of it."""
    namespace = f"{bench.namespace}-elsewhere"
    provider = await bench.open(namespace=namespace, clock=SystemClock())
    if not (provider.tells_of_work or provider.tells_of_changes):
        return
    async with process("tell", url_of(bench), namespace, "alpha") as other:
        turns = WorkWait(timeout=MINUTE, serves=SERVES)
        created = ChangeWait(instance="alpha", timeout=MINUTE, exists=False)
        await _ends_at(other, provider, "created an instance", turns, created)
        activities = WorkWait(timeout=MINUTE, activity_names=WORK)
        committed = ChangeWait(instance="alpha", timeout=MINUTE)
        await _ends_at(other, provider, "committed a turn", activities, committed)
        ended = ChangeWait(instance="alpha", timeout=MINUTE, last_commit="first", until_ended=True)
        await _ends_at(other, provider, "ended the instance", None, ended)
        await line_of(other)


async def _ends_at(
    other: Process, provider: Provider, what: str, work: WorkWait | None, change: ChangeWait
) -> None:
    """Let the other process make its next call, and complain unless the waits end."""
    await line_of(other)
    waits: dict[str, Awaitable[object]] = {}
    if work is not None and provider.tells_of_work:
        waits["wait_for_work"] = provider.wait_for_work(work)
    if provider.tells_of_changes:
        waits["wait_for_change"] = provider.wait_for_change(change)

    async def go_on() -> None:
        if other.stdin is None:
            raise AssertionError("a process was started without pipes")
        other.stdin.write(b"\n")
        await other.stdin.drain()

    ended = await all_end_soon(tuple(waits.values()), go_on)
    for name, is_over in zip(waits, ended, strict=True):
        expect(is_over, f"another process {what}, and {name} waits on")
