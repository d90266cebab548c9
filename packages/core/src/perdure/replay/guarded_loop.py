"""The part of the loop that admits only the engine's thread, while the engine runs the loop.

A thread, a task of the host, or a future that they complete reaches the loop at a moment that no
replay repeats. The loop refuses such calls, by one comparison where asyncio's code calls it.
"""

from __future__ import annotations

from threading import get_ident
from typing import NoReturn, Protocol

from perdure.clock import Instant
from perdure.errors import ForbiddenInOrchestration
from perdure.replay.stable_hashes import StableHashLoop


class LoopPort(Protocol):
    """What the loop needs from the engine: durable timers, and reports of refusals and errors."""

    def create_timer(self, fire_at: Instant) -> int:
        """Create a timer; returns the number of its schedule event."""
        ...

    def cancel_timer(self, scheduled: int) -> None:
        """Cancel a timer."""
        ...

    def refuse(self, error: ForbiddenInOrchestration) -> None:
        """Record a forbidden use."""
        ...

    def log_unhandled(self, what: str, error: BaseException | None) -> None:
        """Log an exception that nothing handled or awaited."""
        ...


class GuardedLoop(StableHashLoop):
    """Admits one thread at a time."""

    def __init__(self, identity: str, port: LoopPort) -> None:
        super().__init__(identity)
        self._port = port
        self._driver = 0
        """The thread that may use the loop now, or 0."""
        self._running = False

    def is_running(self) -> bool:
        """Whether a callback is running."""
        return self._running

    def runs_here(self) -> bool:
        """Whether the calling thread is running the orchestration's own code."""
        return self._running and self._driver == get_ident()

    def require_open(self) -> None:
        """Raise `ForbiddenInOrchestration` unless the calling thread is admitted."""
        if self._driver != get_ident():
            self.refuse_outside_use()

    def refuse_outside_use(self) -> NoReturn:
        """Raise `ForbiddenInOrchestration` for a call from outside."""
        self.forbid(
            ForbiddenInOrchestration(
                "a thread, or code outside of the orchestration, used its event loop or what waits"
                " on it; let an activity, or an event raised by the client, bring the result"
            )
        )

    def forbid(self, error: ForbiddenInOrchestration) -> NoReturn:
        """Raise the error, and void the turn even if the code catches it."""
        self._port.refuse(error)
        raise error
