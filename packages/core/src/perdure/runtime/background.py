"""What every background task of the runtime does with an error that nothing else handles."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

_LOGGER = logging.getLogger("perdure.runtime")


def log_breakage(task: asyncio.Task[Any]) -> None:
    """Log what a task raised, as its done callback."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOGGER.error("a task of the runtime broke: %s", task.get_name(), exc_info=error)
