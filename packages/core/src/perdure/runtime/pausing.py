"""How a loop of the runtime waits after a look that found nothing."""

from __future__ import annotations

from datetime import timedelta

from perdure.contract.doorbell import Bell
from perdure.contract.provider import Provider
from perdure.contract.records import WorkWait
from perdure.waiting import first_of

_FIRST_PAUSE = timedelta(milliseconds=20)


class Pause:
    """How long to wait after a look that found nothing: longer each time, until work comes.

    Where the provider knows when work comes, it ends the wait; the pause is then only the limit
    of its wait. Where it does not, this is adaptive polling.
    """

    def __init__(self, longest: timedelta) -> None:
        self._longest = longest
        self.reset()

    def reset(self) -> None:
        """Work was found: look again soon."""
        self._next = min(_FIRST_PAUSE, self._longest)

    async def wait(self, provider: Provider, bell: Bell, wait: WorkWait) -> None:
        """Return when the bell rings, the provider tells of work, or the pause is over."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        await first_of(
            bell.wait(),
            provider.wait_for_work(
                WorkWait(
                    timeout=pause,
                    serves=wait.serves,
                    activity_names=wait.activity_names,
                    activity_tags=wait.activity_tags,
                )
            ),
        )
