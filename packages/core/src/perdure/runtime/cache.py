"""Live executions between their turns, bounded; the least recently used go first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from perdure.records.instances import InstanceState
from perdure.replay.execution import Execution


@dataclass(frozen=True, slots=True)
class LiveExecution:
    """An execution in memory, and the commit that confirmed it."""

    execution: Execution
    last_commit: str | None

    def fits(self, state: InstanceState) -> bool:
        """Whether nothing was committed elsewhere since: by the commit's id, not by numbers."""
        started = self.execution.started
        return (
            self.last_commit == state.last_commit
            and started.incarnation == state.incarnation
            and started.execution == state.execution
        )


class ExecutionCache:
    """Takes in executions, and hands them out for a turn; never both at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._live: OrderedDict[str, LiveExecution] = OrderedDict()

    def __len__(self) -> int:
        return len(self._live)

    def take(self, instance: str) -> LiveExecution | None:
        """Remove and return what is kept of this instance."""
        return self._live.pop(instance, None)

    def put(self, instance: str, live: LiveExecution) -> Execution | None:
        """Keep it; returns the execution that had to go for it, to be discarded."""
        self._live[instance] = live
        if len(self._live) <= self._limit:
            return None
        return self._live.popitem(last=False)[1].execution

    def clear(self) -> list[Execution]:
        """Remove all, to be discarded."""
        executions = [live.execution for live in self._live.values()]
        self._live.clear()
        return executions
