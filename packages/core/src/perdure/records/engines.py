"""Which engine an instance needs, so that older runtimes leave it alone."""

from __future__ import annotations

from perdure.model.wire import StartData
from perdure.records.limits import ENGINE_WITH_RECOVERY, FIRST_ENGINE


def engine_of_start(start: StartData) -> int:
    """The oldest engine that can run an instance which begins like this."""
    is_plain = start.copy is None and start.start_at is None and not start.headers
    return FIRST_ENGINE if is_plain else ENGINE_WITH_RECOVERY
