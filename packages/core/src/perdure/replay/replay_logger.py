"""The logger of an orchestration, which logs nothing in replay."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any, cast

from perdure.replay.execution_log import ExecutionLog


class ReplayLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs with the instance's id, and logs nothing in replay."""

    def __init__(self, log: ExecutionLog) -> None:
        super().__init__(log.logger, dict(log.fields))
        self._log_of_execution = log

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 # the name is logging's
        """False in replay, and for an execution that is being discarded."""
        return not self._log_of_execution.is_silent and super().isEnabledFor(level)

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Add the fields of the instance to those of the caller."""
        own = cast("Mapping[str, object]", self.extra)
        return msg, {**kwargs, "extra": {**(kwargs.get("extra") or {}), **own}}

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log the message with the instance's id before it.

        With arguments the message is a format string, so percent signs in the id are escaped.
        """
        if not self.isEnabledFor(level):
            return
        instance = str(cast("Mapping[str, object]", self.extra)["perdure_instance"])
        prefix = f"[{instance}] "
        if args:
            prefix = prefix.replace("%", "%%")
        # This frame is between the caller and the logger.
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, f"{prefix}{msg}", *args, **kwargs)
