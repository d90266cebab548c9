"""Inspects the histories in a storage: their rules, and whether the code agrees with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from perdure.authoring.functions import OrchestrationDefinition
from perdure.authoring.registry import Catalog
from perdure.contract import InstanceState, InstanceStatus
from perdure.history import CancelRequested, Event, OrchestrationFailed, OrchestrationStarted
from perdure.model.details import Cancelled, Poisoned, Unregistered
from perdure.replay.execution import Execution
from perdure.replay.signals import HistoryMismatch
from perdure.runtime.host_loop import run_outside_tasks

from perdure_conformance.history_rules import violations_in


async def inspect_instance(
    state: InstanceState, execution: int, events: Sequence[Event], deployed: Sequence[Catalog]
) -> list[str]:
    """All that is wrong with one execution of an instance.

    At least one version of the deployed code must agree with the history.
    """
    current = execution == state.execution
    ended = not current or state.status is not InstanceStatus.RUNNING
    if current and state.last_event != len(events):
        return [f"last_event is {state.last_event} and the history has {len(events)} events"]
    if not events and not ended:
        return []
    return [*violations_in(events, ended=ended), *await _faults_in_replay(events, deployed)]


async def _faults_in_replay(events: Sequence[Event], deployed: Sequence[Catalog]) -> list[str]:
    started = events[0]
    if not isinstance(started, OrchestrationStarted) or _ended_without_code(events):
        return []
    faults: list[str] = []
    for catalog in deployed:
        definition = catalog.orchestration(started.name, started.version)
        if definition is None:
            continue
        fault = await _replay(events, definition, catalog)
        if fault is None:
            return []
        faults.append(fault)
    return faults


def _ended_without_code(events: Sequence[Event]) -> bool:
    """Whether the runtime ended it, without its code."""
    last = events[-1]
    if not isinstance(last, OrchestrationFailed):
        return False
    if isinstance(last.details.kind, Cancelled):
        # It was parked: its code never heard of the request.
        return not any(isinstance(event, CancelRequested) for event in events)
    return isinstance(last.details.kind, Poisoned | Unregistered)


async def _replay(
    events: Sequence[Event], definition: OrchestrationDefinition, catalog: Catalog
) -> str | None:
    try:
        # The limit of a cleanup is not compared: it may differ between deployments.
        execution = await run_outside_tasks(
            lambda: Execution.rebuild(
                events,
                definition,
                catalog,
                cleanup_timeout=timedelta(minutes=5),
                compare="strict",
            )
        )
    except HistoryMismatch as mismatch:
        return str(mismatch)
    await run_outside_tasks(execution.discard)
    return None
