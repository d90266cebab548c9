"""When a loop of the runtime looks into the storage again, and for what.

Two rhythms, both of one idea: soon while there is news, ever more rarely while there is none.
`Pause` is the wait after a look that found nothing to run; `UnservedLooks` says which of the
looks asks for work that nobody takes as well.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import timedelta

from perdure.clock import Clock, to_microseconds
from perdure.contract.doorbell import Bell
from perdure.contract.provider import Provider
from perdure.contract.records import WorkWait
from perdure.waiting import first_of

_FIRST_PAUSE = timedelta(milliseconds=20)
_LONGEST_INTERVAL = timedelta(seconds=30)
_MOST_KNOWN = 10_000


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


class UnservedLooks:
    """Which looks also ask for work that nobody takes.

    One at every interval. While such looks find only what they found before, which stays marked
    and costs a write each time, they come more and more rarely.
    """

    def __init__(self, clock: Clock, interval: timedelta) -> None:
        self._clock = clock
        self._interval = self._shortest = interval
        self._last = clock.now()
        self._known: set[Hashable] = set()

    def unserved_for(self) -> timedelta | None:
        """What the next look asks for: how long nobody took it; None: not for such work."""
        now = self._clock.now()
        # A clock that stepped back must not put the next one off.
        if 0 <= now - self._last < to_microseconds(self._interval):
            return None
        self._last = now
        return self._shortest

    def saw(self, unserved: Iterable[Hashable]) -> None:
        """Note what a look has found that nobody takes."""
        found = set(unserved)
        if found and found <= self._known:
            longest = max(self._shortest, _LONGEST_INTERVAL)
            self._interval = min(self._interval * 2, longest)
            return
        self._interval = self._shortest
        if not found or len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known |= found
