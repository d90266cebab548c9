"""The scenarios of `docs/explain/cases.md`: what users are promised, shown on the real runtime.

- `simulation`: the runtimes, the client and the clock of a scenario
- `link`: stands between a runtime and its storage; counts calls, holds them, loses answers
- `simulation_clocks`: the clocks of a simulation
- `parking`: marks of parked instances
- the other modules: the scenarios, by subject
"""

from __future__ import annotations

from types import ModuleType

from perdure_conformance.check import Check
from perdure_conformance.scenarios import (
    cancellation,
    children,
    continue_as_new,
    damage,
    deletion,
    deployments,
    events,
    failures,
    killed_processes,
    leases,
    outcomes,
    poison,
    progress,
    races,
    recovery,
    repeated_calls,
    start_options,
    starts,
    timers,
    unregistered,
)

_MODULES: tuple[ModuleType, ...] = (
    events,
    starts,
    cancellation,
    continue_as_new,
    children,
    races,
    leases,
    poison,
    damage,
    timers,
    deployments,
    unregistered,
    failures,
    outcomes,
    repeated_calls,
    killed_processes,
    start_options,
    recovery,
    progress,
    deletion,
)


def _place(scenario: Check) -> tuple[int, str]:
    number = scenario.id.rpartition("-")[2]
    digits = number.rstrip("abcdefgh")
    return int(digits), number[len(digits) :]


SCENARIOS: tuple[Check, ...] = tuple(
    sorted(
        (
            value
            for module in _MODULES
            for value in vars(module).values()
            if isinstance(value, Check)
        ),
        key=_place,
    )
)
"""A check for every scenario, in their order."""
