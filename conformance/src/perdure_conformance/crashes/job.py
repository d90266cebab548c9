"""The job of a process, and the lines by which it reports its progress.

A line is printed once the call that it is about has returned, so a line that was read is an
acknowledgement. What was not acknowledged may have taken effect or not; a later process does it
again under the same ids.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from pydantic import TypeAdapter

READY: Final = "ready"
STARTED: Final = "started"
RAISED: Final = "raised"
ENDED: Final = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process does: it always serves; where it has instances to drive it is a client too."""

    url: str
    """With the namespace."""
    drive: dict[str, int | None] = field(default_factory=dict)
    """The instances that it drives, each with the next number to raise; None: to start first."""
    last: int | None = None
    """The last number to raise, after which the instance is ended; None: go on until killed."""
    pace: float = 0.0
    """Real seconds between two numbers of one instance."""
    lease: timedelta = timedelta(seconds=1)
    max_attempts: int = 5


JOB: Final = TypeAdapter(Job)


@dataclass(slots=True, kw_only=True)
class Progress:
    """What has been acknowledged of one instance, over all processes."""

    started: bool = False
    next: int = 0
    """The next number to raise."""
    output: str | None = None

    @property
    def resume(self) -> int | None:
        """Where the next process takes it up."""
        return self.next if self.started else None


def take_in(line: str, progress: dict[str, Progress]) -> None:
    """Note what a line acknowledges."""
    word, _, rest = line.partition(" ")
    instance, _, value = rest.partition(" ")
    if word == STARTED:
        progress[instance].started = True
    elif word == RAISED:
        progress[instance].next = int(value) + 1
    elif word == ENDED:
        progress[instance].output = value
