"""The part of the loop that lets the engine's thread in while it drives, and refuses all others.

A thread, a task of the host, a future that either completes: whatever reaches the loop from
outside comes at a moment that no replay repeats. It is found where asyncio's own code calls the
loop, by one comparison.
"""

from __future__ import annotations

from threading import get_ident
from typing import NoReturn, Protocol

from perdure.clock import Instant
from perdure.errors import ForbiddenInOrchestration
from perdure.replay.stable_hashes import StableHashLoop


class LoopPort(Protocol):
    """Where the loop asks for durable timers, and tells of what it refused and of what nothing handled."""

    def create_timer(self, fire_at: Instant) -> int:
        """Ask for a timer; returns the number of its schedule event."""
        ...

    def cancel_timer(self, scheduled: int) -> None:
        """Say that a timer is not wanted any more."""
        ...

    def refuse(self, error: ForbiddenInOrchestration) -> None:
        """Note that the code used what it must not."""
        ...

    def log_unhandled(self, what: str, error: BaseException | None) -> None:
        """Say that nothing handled or awaited an exception."""
        ...


class GuardedLoop(StableHashLoop):
    """See the module."""

    def __init__(self, identity: str, port: LoopPort) -> None:
        super().__init__(identity)
        self._port = port
        self._driver = 0
        """The thread that may use the loop now; 0 for none."""
        self._running = False

    def open(self) -> None:
        """Let the calling thread, and no other, use the loop until it is shut."""
        self._driver = get_ident()

    def close_to_threads(self) -> None:
        """Refuse whatever comes now: it comes from a thread, or from outside of the run."""
        self._driver = 0

    def is_running(self) -> bool:
        """Whether a callback is being run."""
        return self._running

    def runs_here(self) -> bool:
        """Whether the calling thread is running the orchestration's own code."""
        return self._running and self._driver == get_ident()

    def require_open(self) -> None:
        """Raise `ForbiddenInOrchestration` unless the engine lets this thread use the loop."""
        if self._driver != get_ident():
            self.refuse_outside_use()

    def refuse_outside_use(self) -> NoReturn:
        """Raise `ForbiddenInOrchestration` for a use from outside."""
        self.forbid(
            ForbiddenInOrchestration(
                "a thread, or code outside of the orchestration, used its event loop or what waits"
                " on it; let an activity, or an event raised by the client, bring the result"
            )
        )

    def forbid(self, error: ForbiddenInOrchestration) -> NoReturn:
        """Raise the error, and end the turn whatever the code makes of it."""
        self._port.refuse(error)
        raise error
