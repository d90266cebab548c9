"""The rows: what is measured, in which unit, and how much of it in a short and in a whole run."""

from __future__ import annotations

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

    def sizes(self, *, short: bool) -> tuple[int, ...]:
        """The sizes of a run."""
        return self.short if short else self.whole

    def named(self, size: int) -> str:
        """The title with its size."""
        return self.title.format(size=f"{size:,}")


ROWS = (
    Row("chains", "{size} chains of 5 activities at once", "activities/s", (200,), (500,)),
    Row("fan_outs", "{size} fan-outs of 100 activities at once", "activities/s", (5,), (20,)),
    Row("latency", "start → activity → result, {size} in turn", "ms", (100,), (300,), False),
    Row("long_chain", "a step of one chain of {size}", "ms", (400,), (2000, 10_000), False),
    Row("timers", "{size} timers due within a second: lateness", "ms", (200,), (1000,), False),
    Row("events", "{size} waiting instances, an event each", "completions/s", (200,), (500,)),
    Row("replay", "replay of {size} events", "events/s", (2000,), (10_000, 50_000)),
    Row("payloads", "{size} chains of 5 with payloads of 100 KB", "activities/s", (20,), (100,)),
    Row(
        "in_flight",
        "memory for each byte of {size} payloads of 1 MB",
        "bytes",
        (20,),
        (200,),
        False,
    ),
    Row(
        "crowd_beside_chain",
        "a chain of 5 beside a fan-out of {size}",
        "ms",
        (1000,),
        (10_000,),
        False,
    ),
    Row(
        "sleeping", "waking 1 of {size} sleeping instances", "ms", (1000,), (10_000, 100_000), False
    ),
    Row(
        "waiting",
        "an event for 1 of {size} waiting instances",
        "ms",
        (1000,),
        (10_000, 100_000),
        False,
    ),
    Row("idle", "an idle runtime, for {size} s", "% of a core", (3,), (20,), False),
    Row(
        "stored",
        "chains of 5 in a file of {size} ended instances",
        "activities/s",
        (1000, 10_000),
        (1000, 100_000, 1_000_000),
    ),
    Row("processes", "200 chains of 5 on {size} processes", "activities/s", (1, 2), (1, 2, 4)),
    Row(
        "processes_1ms",
        "200 chains of 5 with 1 ms of work on {size} processes",
        "activities/s",
        (1, 2),
        (1, 2, 4),
    ),
)

BY_ID = {row.id: row for row in ROWS}
