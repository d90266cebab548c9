"""Reports values that differ from the history: once, however often an instance is rebuilt."""

from __future__ import annotations

import logging
from collections import OrderedDict

from perdure.clock import Clock
from perdure.diagnostics.logs import log_line
from perdure.observe import ValueDiffered
from perdure.replay.comparing import ValueDifference
from perdure.replay.execution import Execution
from perdure.runtime.observers import Observers

_LOGGER = logging.getLogger("perdure.runtime")
_MOST_KNOWN = 10_000


class ValueDifferences:
    """Remembers what it has reported; it forgets the oldest first."""

    def __init__(self, clock: Clock, observers: Observers) -> None:
        self._clock = clock
        self._observers = observers
        self._reported: OrderedDict[tuple[object, ...], None] = OrderedDict()

    def report(self, execution: Execution) -> None:
        """Log what differs, and notify observers of it, in an execution that was rebuilt."""
        started = execution.started
        for one in execution.differences:
            place = (one.kind, one.name, one.field, one.path)
            if self._is_new((started.instance, started.execution, *place)):
                self._report_one(execution, one)

    def _is_new(self, key: tuple[object, ...]) -> bool:
        new = key not in self._reported
        self._reported[key] = None
        self._reported.move_to_end(key)
        if len(self._reported) > _MOST_KNOWN:
            self._reported.popitem(last=False)
        return new

    def _report_one(self, execution: Execution, difference: ValueDifference) -> None:
        started, definition = execution.started, execution.definition
        log_line(
            _LOGGER,
            logging.WARNING,
            "instance %r: the code of %r version %s asks with another value than event %d of the"
            " history has: %s; the recorded one counts",
            started.instance,
            definition.name,
            definition.version,
            difference.event_id,
            difference,
            fields={
                "perdure_instance": started.instance,
                "perdure_orchestration": definition.name,
                "perdure_path": difference.path,
            },
        )
        if self._observers.any:
            self._observers.notify(
                ValueDiffered(
                    at=self._clock.now(),
                    instance=started.instance,
                    execution=started.execution,
                    orchestration=definition.name,
                    version=definition.version,
                    event=difference.event_id,
                    kind=difference.kind,
                    name=difference.name,
                    field=difference.field,
                    path=difference.path,
                )
            )
