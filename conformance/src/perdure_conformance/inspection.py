"""Inspects the histories in a storage: their rules, and whether the code agrees with them."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.authoring.catalog import Catalog
from perdure.contract import InstanceState, InstanceStatus
from perdure.history import TERMINAL, Event, OrchestrationStarted
from perdure.testing.replay_check import check_execution

from perdure_conformance.history_rules import violations_in


def inspect_instance(
    state: InstanceState,
    execution: int,
    events: Sequence[Event],
    deployed: Sequence[Catalog],
    *,
    is_rewound: bool = False,
) -> list[str]:
    """All that is wrong with one execution of an instance.

    At least one version of the deployed code must agree with the history. An execution behind which
    another begins with a copy (`is_rewound`) may have been running, and need not have ended.
    """
    current = execution == state.execution
    ended = not current or state.status is not InstanceStatus.RUNNING
    if is_rewound and not any(isinstance(event, TERMINAL) for event in events):
        ended = False
    if current and state.last_event != len(events):
        return [f"last_event is {state.last_event} and the history has {len(events)} events"]
    if not events and not ended:
        return []
    return [*violations_in(events, ended=ended), *_faults_in_replay(events, deployed)]


def _faults_in_replay(events: Sequence[Event], deployed: Sequence[Catalog]) -> list[str]:
    started = events[0]
    if not isinstance(started, OrchestrationStarted):
        return []
    faults: list[str] = []
    for catalog in deployed:
        if catalog.orchestration(started.name, started.version) is None:
            continue
        checked = check_execution(events, catalog, strict=True)
        if checked.disagreement is None:
            return []
        faults.append(checked.disagreement.message)
    return faults
