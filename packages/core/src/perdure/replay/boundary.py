"""Voids a turn whose code did something that cannot be replayed.

A forbidden call raises, but a library may catch that exception and continue with a wrong result,
and a thread may ignore it. The boundary therefore records the first forbidden use: the commands
that follow have no effect, and taking the turn raises the error. At the end of a turn it also finds
an orchestration that awaits something that no durable event can complete.
"""

from __future__ import annotations

import logging

from perdure.diagnostics.logs import of_instance
from perdure.errors import ForbiddenInOrchestration
from perdure.replay.code_locations import running_at, waiting_at
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.signals import ForbiddenUse
from perdure.replay.transcript import Transcript

_LOGGER = logging.getLogger("perdure.orchestration")


class Boundary:
    """The boundary of one execution; `home` is the module of its orchestration."""

    __slots__ = ("_from_outside", "_home", "_instance", "_loop", "_transcript")

    def __init__(
        self, transcript: Transcript, loop: OrchestrationLoop, instance: str, home: str
    ) -> None:
        self._transcript = transcript
        self._loop = loop
        self._instance = instance
        self._home = home
        self._from_outside = False
        """Whether a thread, or other code outside the orchestration, made the recorded use."""

    def note(self, error: ForbiddenInOrchestration) -> None:
        """Record a forbidden use; any thread may call this at any time."""
        if self._transcript.closed:
            return
        self._from_outside = not self._loop.runs_here()
        used = ForbiddenUse(f"{error}; it was used at {running_at(self._home)}")
        used.error = error
        self._transcript.refuse(used)
        if self._from_outside and not self._loop.is_running():
            _LOGGER.warning(
                "instance %r is parked at its next turn: %s",
                self._instance,
                used,
                extra=of_instance(self._instance),
            )

    def check(self) -> None:
        """Raise `ForbiddenUse` if a forbidden use was recorded."""
        used = self._transcript.forbidden
        if used is None:
            return
        if self._from_outside and (waits := self._waits()):
            raise ForbiddenUse(f"{used}, while the orchestration waits{waits}")
        raise used

    def check_turn(self, *, expecting: bool) -> None:
        """Raise `ForbiddenUse` if the turn is void; `expecting`: durable work or a wait is under way."""
        if self._transcript.forbidden is not None:
            self.check()
        if expecting or self._transcript.closed or self._loop.sleeps_for_ever:
            return
        raise ForbiddenUse(
            f"the orchestration waits{self._waits()} for something that cannot come: no activity,"
            " timer, event or child is under way, and what a thread or other code outside of the"
            " orchestration completes cannot be replayed; move that work into an activity, or, to"
            " wait for nothing but a cancellation, await asyncio.sleep(math.inf)"
        )

    def _waits(self) -> str:
        places = waiting_at(self._loop.waiting_tasks(), self._home)
        return f" at {places}" if places else ""
