"""The rows: what is measured, in which unit, and how much of it in a short and in a whole run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row. A size is a count, or seconds for `idle`."""

    id: str
    title: str
    """With `{size}` for the size."""
    unit: str
    short: tuple[int, ...]
    whole: tuple[int, ...]
    more_is_better: bool = True
    once: tuple[int, ...] = ()
    """Sizes whose preparation takes long: a whole run plays them once."""
    large: tuple[int, ...] = ()
    """Sizes that take many minutes: played where they are asked for."""

    def named(self, size: int) -> str:
        """The title with its size."""
        return self.title.format(size=f"{size:,}")


@dataclass(frozen=True, slots=True)
class Extent:
    """Which sizes a run plays, and how often."""

    short: bool
    large: bool
    rounds: int

    def sizes(self, rows: Sequence[Row], number: int) -> Iterator[tuple[Row, int]]:
        """What this round plays; the first is number 1.

        What is played once follows the second round: then the others have a spread already.
        """
        for row in rows:
            yield from ((row, size) for size in (row.short if self.short else row.whole))
        if number == min(2, self.rounds) and not self.short:
            for row in rows:
                yield from ((row, size) for size in row.once)
        if number == min(2, self.rounds) and self.large:
            for row in rows:
                yield from ((row, size) for size in row.large)


ROWS = (
    Row("chains", "{size} chains of 5 activities at once", "activities/s", (200,), (500,)),
    Row("fan_outs", "{size} fan-outs of 100 activities at once", "activities/s", (5,), (20,)),
    Row("latency", "start → activity → result, {size} in turn", "ms", (100,), (200,), False),
    Row("long_chain", "a step of one chain of {size}", "ms", (300,), (1000,), False, (10_000,)),
    Row("timers", "{size} timers due within a second: lateness", "ms", (200,), (1000,), False),
    Row("events", "{size} waiting instances, an event each", "completions/s", (200,), (500,)),
    Row("replay", "replay of {size} events", "events/s", (600,), (), once=(1000, 10_000)),
    Row("payloads", "{size} chains of 5 with payloads of 100 KB", "activities/s", (10,), (50,)),
    Row(
        "in_flight",
        "memory for each byte of {size} payloads of 1 MB",
        "bytes",
        (20,),
        (),
        False,
        (200,),
    ),
    Row(
        "crowd_beside_chain",
        "a chain of 5 beside a fan-out of {size}",
        "ms",
        (500,),
        (),
        False,
        (2000, 10_000),
    ),
    Row(
        "sleeping",
        "waking 1 of {size} sleeping instances",
        "ms",
        (200,),
        (),
        False,
        (1000, 10_000),
        (100_000,),
    ),
    Row(
        "waiting",
        "an event for 1 of {size} waiting instances",
        "ms",
        (200,),
        (),
        False,
        (1000, 10_000, 100_000),
    ),
    Row("idle", "an idle runtime, for {size} s", "% of a core", (3,), (), False, (5,)),
    Row(
        "stored",
        "chains of 5 beside {size} ended instances",
        "activities/s",
        (200,),
        (),
        once=(1000, 100_000, 1_000_000),
    ),
    Row(
        "processes",
        "200 chains of 5, worker processes: {size}",
        "activities/s",
        (1, 2),
        (1, 2),
        once=(4,),
    ),
    Row(
        "processes_1ms",
        "200 chains of 5 with 1 ms of work, worker processes: {size}",
        "activities/s",
        (1, 2),
        (1, 2),
        once=(4,),
    ),
)

BY_ID = {row.id: row for row in ROWS}
