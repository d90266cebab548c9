"""Replays histories against code: nothing runs, nothing is written, and no time passes.

The engine compares what the code asks for with what a history has, as a runtime does when it
rebuilds an execution. An activity is never called, because replay takes results from the history.
"""

from __future__ import annotations

from asyncio import events as asyncio_events
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import OrchestrationDefinition
from perdure.authoring.registry import Registry
from perdure.errors import InvalidInput
from perdure.history import (
    TERMINAL,
    CancelRequested,
    Event,
    OrchestrationFailed,
    OrchestrationStarted,
)
from perdure.model.details import Cancelled, Poisoned, Terminated, Unregistered
from perdure.model.hidden_payload import HiddenPayloadUsed
from perdure.records.history_document import ExecutionHistory, HistoryDocument
from perdure.replay.execution import PYTHON, Execution
from perdure.replay.signals import ForbiddenUse, HistoryMismatch, UndecodableData
from perdure.testing.history_sources import history_documents, read_document
from perdure.testing.replay_report import CheckedExecution, Disagreement, ReplayReport

if TYPE_CHECKING:
    from perdure.client.client import Client

T = TypeVar("T")

CLEANUP_TIMEOUT: Final = timedelta(minutes=5)
"""The limit of a cleanup is not compared, because it may differ between deployments."""


def check_history(
    history: HistoryDocument | str | PathLike[str] | Sequence[Event],
    app: Registry | Iterable[Registry],
    *,
    strict: bool = False,
) -> ReplayReport:
    """Replay a history against the code of `app`, without running anything.

    `history` is a document, the path of a file that has one, or the events of one execution. The
    code of the history's own version is checked. A value that differs is a warning; with `strict`
    it is a disagreement.

    The report is the same wherever you call it: in a test, in an `async def`, in a thread.
    Raises `InvalidInput` for a file that is no history document.
    """
    catalog = catalog_of(app)
    executions = _executions(history)
    return outside_of_loops(lambda: _report(executions, catalog, strict=strict))


async def check_histories(
    histories: Client | str | PathLike[str],
    app: Registry | Iterable[Registry],
    *,
    strict: bool = False,
    orchestration: str | None = None,
    running: bool = False,
    sample: int | None = None,
) -> ReplayReport:
    """Replay many histories: of a folder, of a storage by its URL, or of a client's storage.

    A folder is searched for files that end with `.json`, also in folders within it. From a
    storage, `orchestration` takes only instances of that name, `running` only those that have not
    ended, and `sample` so many at most, chosen the same way each time. The storage is only read.
    Raises `InvalidInput` for a folder that has no history, and `ManagementNotAvailable`.
    """
    catalog = catalog_of(app)
    checked: list[CheckedExecution] = []
    async for document in history_documents(
        histories, orchestration=orchestration, running=running, sample=sample
    ):
        checked.extend(_report(document.executions, catalog, strict=strict).executions)
    return ReplayReport(tuple(checked))


def check_execution(
    events: Sequence[Event], catalog: Catalog, *, strict: bool = False
) -> CheckedExecution:
    """Replay the events of one execution."""
    started = events[0] if events else None
    if not isinstance(started, OrchestrationStarted):
        raise InvalidInput("the history does not begin with OrchestrationStarted; pass all of it")
    definition = catalog.orchestration(started.name, started.version)
    ended = isinstance(events[-1], TERMINAL)
    if ended and _ended_without_code(events):
        return _not_replayed(started, "the runtime ended it, not its code")
    if definition is None:
        named = f"orchestration {started.name!r} version {started.version}"
        if ended:
            return _not_replayed(started, f"it has ended, and {named} is not registered any more")
        missing = f"{named} is not registered; register it until its last instance has ended"
        return _checked(started, disagreement=Disagreement(message=missing))
    return _replay(started, events, definition, catalog, strict=strict)


def _replay(
    started: OrchestrationStarted,
    events: Sequence[Event],
    definition: OrchestrationDefinition,
    catalog: Catalog,
    *,
    strict: bool,
) -> CheckedExecution:
    try:
        execution = Execution.rebuild(
            events,
            definition,
            catalog,
            cleanup_timeout=CLEANUP_TIMEOUT,
            compare="strict" if strict else "warn",
        )
    except HistoryMismatch as mismatch:
        found = Disagreement(
            message=str(mismatch),
            event=mismatch.event_id,
            history=mismatch.expected,
            code=mismatch.found,
            where=mismatch.where,
            differs=mismatch.differs,
            python="" if started.python == PYTHON else started.python,
        )
        checked = _checked(started, disagreement=found)
        return replace(checked, waiting=mismatch.waiting)
    except ForbiddenUse as refused:
        if isinstance(refused.error, HiddenPayloadUsed):
            note = f"compared up to event {refused.last_event} of {len(events)}: {refused}"
            return replace(_checked(started), verdict="agrees in part", note=note)
        return _checked(started, disagreement=Disagreement(message=str(refused)))
    except UndecodableData as refused:
        return _checked(started, disagreement=Disagreement(message=str(refused)))
    checked = replace(
        _checked(started),
        differences=tuple(execution.differences),
        waiting=() if execution.terminal is not None else execution.waiting,
    )
    execution.discard()
    return checked


def _report(
    executions: Sequence[ExecutionHistory], catalog: Catalog, *, strict: bool
) -> ReplayReport:
    return ReplayReport(
        tuple(
            check_execution(execution.events, catalog, strict=strict)
            for execution in executions
            # One that ended before its first turn has its end alone.
            if execution.events and not isinstance(execution.events[0], OrchestrationFailed)
        )
    )


def _checked(
    started: OrchestrationStarted, *, disagreement: Disagreement | None = None
) -> CheckedExecution:
    return CheckedExecution(
        instance=started.instance,
        execution=started.execution,
        orchestration=started.name,
        version=started.version,
        verdict="agrees" if disagreement is None else "disagrees",
        disagreement=disagreement,
    )


def _not_replayed(started: OrchestrationStarted, why: str) -> CheckedExecution:
    return replace(_checked(started), verdict="not replayed", note=why)


def _ended_without_code(events: Sequence[Event]) -> bool:
    last = events[-1]
    if not isinstance(last, OrchestrationFailed):
        return False
    if isinstance(last.details.kind, Cancelled):
        # It was parked: its code never heard of the request.
        return not any(isinstance(event, CancelRequested) for event in events)
    return isinstance(last.details.kind, Poisoned | Terminated | Unregistered)


def catalog_of(app: Registry | Iterable[Registry]) -> Catalog:
    """What the registries have."""
    return Catalog([app] if isinstance(app, Registry) else list(app))


def _executions(
    history: HistoryDocument | str | PathLike[str] | Sequence[Event],
) -> Sequence[ExecutionHistory]:
    if isinstance(history, str | PathLike):
        history = read_document(Path(history))
    if isinstance(history, HistoryDocument):
        return history.executions
    return [ExecutionHistory(number=1, events=tuple(history))]


def outside_of_loops(work: Callable[[], T]) -> T:
    """Call it where no event loop runs: from Python 3.14 on, a task cannot step another's."""
    if asyncio_events._get_running_loop() is None:  # pyright: ignore[reportPrivateUsage] # the public call raises
        return work()
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(work).result()
