"""Tells whether the caller runs inside an orchestration, where only the context may act.

Shared by the parts that must refuse there (the client) and the loop that marks itself, so that
neither needs to know the other.
"""

from __future__ import annotations

from asyncio import events
from typing import NoReturn

from perdure.errors import ForbiddenInOrchestration


class OrchestrationLoopMarker:
    """Base of the event loop that orchestrations run on."""

    def forbid(self, error: ForbiddenInOrchestration) -> NoReturn:
        """Raise the error, and end the turn whatever the code makes of it."""
        raise error


def forbid(error: ForbiddenInOrchestration) -> NoReturn:
    """Raise the error, and end the turn of the orchestration that is running, if one is."""
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
