"""Waits until an instance is marked as parked, and reads the mark."""

from __future__ import annotations

from perdure.model.status import Parked, Running

from perdure_conformance.expect import ClauseBroken
from perdure_conformance.scenarios.simulation import Simulation


async def parked_mark(simulation: Simulation, instance: str) -> Parked | None:
    """Why a running instance does not move."""
    status = await simulation.client.get_orchestration_status(instance)
    return status.parked if isinstance(status, Running) else None


async def until_parked(simulation: Simulation, instance: str) -> Parked:
    """Let time pass until an instance is marked as parked."""

    async def is_parked() -> bool:
        return await parked_mark(simulation, instance) is not None

    await simulation.until(is_parked, f"the mark of {instance!r}")
    mark = await parked_mark(simulation, instance)
    if mark is None:
        raise ClauseBroken(f"the mark of {instance!r} vanished")
    return mark
