"""Work that nobody takes: when to look for it, and for how long it has been known as such.

That something waits does not mean that nobody has its function or serves its tag: its runtimes
may be busy, or be started just now. So the time until it fails counts from the mark that a
runtime which can't run it left on the instance, and a commit takes the mark away.

A missing function and an unregistered tag have the same reason. Where one runtime lacks the function
and another the tag, two reasons would replace each other at every look, and the mark's `since`
would start anew each time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import timedelta
from typing import Final

from perdure.clock import Clock, Instant, to_microseconds
from perdure.records.instances import InstanceState

UNREGISTERED: Final = "unregistered"
"""The reason of the mark."""
_LONGEST_INTERVAL = timedelta(seconds=30)
_MOST_KNOWN = 10_000


def unregistered_since(state: InstanceState) -> Instant | None:
    """Since when the instance is marked as waiting for a function that nobody has."""
    mark = state.parked
    return mark.since if mark is not None and mark.reason == UNREGISTERED else None


def unregistered_tag(activity: str, tag: str | None, served: frozenset[str | None]) -> str:
    """The details of the mark for an activity whose tag this runtime does not serve."""
    what = "is untagged" if tag is None else f"has the tag {tag!r}"
    tags = ", ".join(sorted(repr(each) for each in served if each is not None))
    here = " and ".join(
        (["untagged activities"] if None in served else []) + ([f"the tags {tags}"] if tags else [])
    )
    return (
        f"activity {activity!r} {what}, and this runtime serves only {here};"
        " start a runtime that serves it, or correct the tag"
    )


class UnregisteredLooks:
    """Which looks also ask for work that nobody takes.

    One at every interval. While such looks find only what they found before, which stays marked
    and costs a write each time, they come more and more rarely.
    """

    def __init__(self, clock: Clock, interval: timedelta) -> None:
        self._clock = clock
        self._interval = self._shortest = interval
        self._last = clock.now()
        self._known: set[Hashable] = set()

    def unregistered_for(self) -> timedelta | None:
        """What the next look asks for: how long nobody took it; None: not for such work."""
        now = self._clock.now()
        # A clock that stepped back must not put the next one off.
        if 0 <= now - self._last < to_microseconds(self._interval):
            return None
        self._last = now
        return self._shortest

    def message_arrived(self, work: Hashable) -> None:
        """A message for this work was stored: where nobody takes it, it may be a cancellation."""
        if work in self._known:
            self._interval = self._shortest

    def saw(self, unregistered: Iterable[Hashable]) -> None:
        """Note what a look has found that nobody takes."""
        found = set(unregistered)
        if found and found <= self._known:
            longest = max(self._shortest, _LONGEST_INTERVAL)
            self._interval = min(self._interval * 2, longest)
            return
        self._interval = self._shortest
        if not found or len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known |= found
