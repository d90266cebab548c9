"""The logger of an orchestration: silent in replay."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from perdure.replay.commands import Commands

_LOGGER = logging.getLogger("perdure.orchestration")


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs under the instance's id, and nothing while the code is being replayed."""

    def __init__(self, commands: Commands) -> None:
        super().__init__(_LOGGER, {"instance_id": commands.started.instance})
        self._commands = commands

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 # the name is logging's
        """Never in replay, nor for an execution that is being discarded."""
        return not self._commands.silent and super().isEnabledFor(level)

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Put the instance's id before the message."""
        kwargs.setdefault("extra", {}).update(self.extra or {})
        return f"[{self._commands.started.instance}] {msg}", kwargs
