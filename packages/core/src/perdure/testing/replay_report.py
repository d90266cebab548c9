"""What a replay check found: per execution, and as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from perdure.model.record import record
from perdure.replay.code_locations import WaitingTask
from perdure.replay.comparing import ValueDifference
from perdure.replay.execution import PYTHON

Verdict: TypeAlias = Literal["agrees", "agrees in part", "disagrees", "not replayed"]
"""Whether the code agrees with a history.

`agrees in part`: the code looks into a payload that the document hides, so the rest is not known.
`not replayed`: no code will run it again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """Where the code departs from the history."""

    message: str
    """The whole, as the status of a parked instance would say it."""
    event: int | None = None
    """The number of the first event that differs; None if it is not about an event."""
    history: str = ""
    """What the history has there."""
    code: str = ""
    """What the code asked for."""
    where: str = ""
    """The line of your code that asked, as `module:line in function`."""
    differs: str = ""
    """If the request is the same and a value is not: which, such as `input at $.cents`."""
    python: str = ""
    """The version of Python that the history began on, if it is not this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedExecution:
    """One execution, and whether the code agrees with its history."""

    instance: str
    execution: int
    orchestration: str
    version: str
    verdict: Verdict
    disagreement: Disagreement | None = None
    """Set if the code disagrees."""
    differences: tuple[ValueDifference, ...] = ()
    """The values that differ, by their paths; a value itself is never shown."""
    waiting: tuple[WaitingTask, ...] = ()
    """Where the code stands at the end of the history, or where it stood when it disagreed."""
    note: str = ""
    """Why it was not replayed, or not to its end."""

    def __str__(self) -> str:
        return "\n  ".join(self._lines())

    def _lines(self) -> Iterator[str]:
        of = f"{self.instance}, execution {self.execution}"
        yield f"{of} ({self.orchestration} {self.version}): {self.verdict}"
        if self.note:
            yield self.note
        if self.disagreement is not None:
            yield from _lines_of(self.disagreement)
        for difference in self.differences:
            yield f"warning: event {difference.event_id} differs in {difference}"
        for task in self.waiting:
            yield str(task)


def _lines_of(found: Disagreement) -> Iterator[str]:
    if found.event is None:
        yield found.message
        return
    yield f"event {found.event}"
    yield f"history: {found.history}"
    yield f"code:    {found.code}{f' at {found.where}' if found.where else ''}"
    if found.differs:
        yield f"differs in {found.differs}"
    if found.python:
        yield f"the history began on Python {found.python}, this is {PYTHON}"


@record(kw_only=False)
class ReplayReport:
    """What a replay check found in all the executions that it replayed."""

    executions: tuple[CheckedExecution, ...]

    @property
    def agrees(self) -> bool:
        """Whether no execution disagrees."""
        return not self.disagreements

    @property
    def disagreements(self) -> tuple[CheckedExecution, ...]:
        """The executions that disagree."""
        return tuple(each for each in self.executions if each.verdict == "disagrees")

    def raise_if_disagrees(self) -> None:
        """Raise `AssertionError` with the disagreements as text, if there are any."""
        if not self.agrees:
            raise AssertionError("\n".join(map(str, self.disagreements)))

    def __str__(self) -> str:
        return "\n".join([*map(str, self.executions), self.summary])

    @property
    def summary(self) -> str:
        """How many executions there are with each verdict, in one line."""
        count = Counter[str](each.verdict for each in self.executions)
        found = [
            f"{count['agrees']} agree",
            *([f"{count['agrees in part']} in part"] if count["agrees in part"] else []),
            f"{count['disagrees']} disagree",
            f"{count['not replayed']} not replayed",
        ]
        total = len(self.executions)
        return f"{total} execution{'' if total == 1 else 's'}: {', '.join(found)}"
