"""Runs checks on a backend, each in its own event loop and on its own bench."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from perdure_conformance.backend import Backend, Declaration
from perdure_conformance.bench import open_bench
from perdure_conformance.check import Check
from perdure_conformance.expect import ClauseBroken

TIME_LIMIT = 240.0
"""Real seconds after which a check is given up."""

LAST_PATIENCE = 10.0
"""Real seconds that a check has to end after its cancellation."""


class Outcome(StrEnum):
    """The outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    UNSUPPORTED = "unsupported"
    """The provider does not declare the capability that the clause needs, or its backend
    does not offer the tampering that the check needs."""
    EXPECTED_FAILURE = "expected failure"
    """Failed, as the test class announced, with a reason."""
    UNTESTED = "untested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of one check."""

    id: str
    outcome: Outcome
    message: str = ""
    seconds: float = 0.0


def binds(check: Check, declaration: Declaration) -> bool:
    """Whether the clause binds a provider that declares this, and can be tested."""
    same_major = check.since[0] == declaration.contract[0]
    capable = declaration.capabilities.issuperset(check.needs)
    reachable = check.tampering is None or check.tampering in declaration.tampering
    return same_major and check.since <= declaration.contract and capable and reachable


async def run_check(check: Check, backend: Backend) -> str:
    """Run one check in the running event loop, and return its notes; it raises if the promise is broken."""
    try:
        async with asyncio.timeout(TIME_LIMIT), open_bench(backend) as bench:
            await check.run(bench)
            return "; ".join(bench.notes)
    except TimeoutError as late:
        raise ClauseBroken(f"{check.id} did not end after {TIME_LIMIT:g} s") from late
    except LookupError as error:
        raise missing(error) or error from error


def run_alone(check: Check, backend: Backend) -> str:
    """Run one check in its own event loop, until it ends or its time is over; returns its notes.

    A provider may swallow the cancellation of a check that takes too long, or never finish its
    close. Then the event loop is closed with everything that still runs in it.
    """
    runner = asyncio.Runner()
    notes: str | None = ""
    try:
        notes = runner.run(end_of(run_check(check, backend)))
    finally:
        if notes is not None:
            runner.close()
        else:
            runner.get_loop().close()
    if notes is None:
        raise ClauseBroken(f"{check.id} did not end after {TIME_LIMIT:g} s, nor when cancelled")
    return notes


async def end_of(body: Coroutine[None, None, str]) -> str | None:
    """The notes of the check; None if it does not end in time, nor when cancelled. Raises its error."""
    task = asyncio.ensure_future(body)
    done, _ = await asyncio.wait({task}, timeout=TIME_LIMIT + LAST_PATIENCE)
    if not done:
        return None
    if task.cancelled():
        raise ClauseBroken("a call ended as cancelled, though the check had not cancelled it")
    return task.result()


def missing(error: LookupError) -> ClauseBroken | None:
    """The complaint of a check that missed something in an answer; None for other lookup errors."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if Path(frame.filename).parent != Path(__file__).parent / "clauses":
        return None
    return ClauseBroken(f"an answer lacks what the check reads in `{frame.line}`: {error!r}")


def judge(check: Check, backend: Backend) -> Result:
    """Run one check in its own event loop, and return its result."""
    declaration = backend.declaration
    if not binds(check, declaration):
        return Result(id=check.id, outcome=Outcome.UNSUPPORTED, message=why_not(check, declaration))
    began = time.perf_counter()
    try:
        notes = run_alone(check, backend)
    except Exception as error:  # noqa: BLE001 # any error of a provider breaks its promise
        return Result(
            id=check.id,
            outcome=Outcome.FAILED,
            message=complaint(error),
            seconds=time.perf_counter() - began,
        )
    seconds = time.perf_counter() - began
    return Result(id=check.id, outcome=Outcome.PASSED, message=notes, seconds=seconds)


def why_not(check: Check, declaration: Declaration) -> str:
    """Why the clause does not bind this provider."""
    for capability in check.needs:
        if capability not in declaration.capabilities:
            return f"{declaration.scheme} does not declare the capability {capability!r}"
    if check.tampering is not None and check.tampering not in declaration.tampering:
        return f"the backend of {declaration.scheme} offers no tampering {check.tampering!r}"
    since = ".".join(map(str, check.since))
    return f"the clause came with contract {since}"


def complaint(error: Exception) -> str:
    """The message of a failed check: the complaint alone, or an error with its traceback."""
    if isinstance(error, ClauseBroken):
        return str(error)
    return "".join(traceback.format_exception(error)).strip()
