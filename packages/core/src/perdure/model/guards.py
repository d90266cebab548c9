"""Refuses calls inside an orchestration that only its context may make.

The client refuses by the marker that the event loop of an orchestration inherits, so that neither
imports the other.
"""

from __future__ import annotations

from asyncio import events
from typing import NoReturn

from perdure.errors import ForbiddenInOrchestration


class OrchestrationLoopMarker:
    """Base of the event loop that orchestrations run on."""

    def forbid(self, error: ForbiddenInOrchestration) -> NoReturn:
        """Raise the error and end the turn, even if the code catches the error."""
        raise error


def forbid(error: ForbiddenInOrchestration) -> NoReturn:
    """Raise the error, and end the turn of the running orchestration, if there is one."""
    loop = events._get_running_loop()
    if isinstance(loop, OrchestrationLoopMarker):
        loop.forbid(error)
    raise error


def refuse_inside_orchestration(call: str, instead: str) -> None:
    """Raise `ForbiddenInOrchestration` when called from an orchestration.

    `call` is what was called, `instead` what to do.
    """
    loop = events._get_running_loop()
    if isinstance(loop, OrchestrationLoopMarker):
        loop.forbid(
            ForbiddenInOrchestration(
                f"{call} was called inside an orchestration, where it would run again at every"
                f" replay; {instead}"
            )
        )
