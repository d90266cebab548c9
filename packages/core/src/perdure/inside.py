"""Tells whether the caller runs inside an orchestration, where only the context may act.

Shared by the parts that must refuse there (the client) and the loop that marks itself, so that
neither needs to know the other.
"""

from __future__ import annotations

import asyncio

from perdure.errors import ForbiddenInOrchestration


class OrchestrationLoopMarker:
    """Base of the event loop that orchestrations run on."""


def refuse_inside_orchestration(call: str, instead: str) -> None:
    """Raise `ForbiddenInOrchestration` when called from an orchestration.

    `call` is what was called, `instead` what to do.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if isinstance(loop, OrchestrationLoopMarker):
        raise ForbiddenInOrchestration(
            f"{call} was called inside an orchestration, where it would run again at every"
            f" replay; {instead}"
        )
