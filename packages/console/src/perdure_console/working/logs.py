"""The log of a worker: readable lines, or one JSON object a line with what `extra` has."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Final

from perdure_console.texts import escape_json, visible

_PREFIX: Final = "perdure_"


class ReadableFormatter(logging.Formatter):
    """`12:00:00 WARNING perdure.runtime  text`; traces keep their lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s  %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The line, with what would steer a terminal as escapes."""
        return visible(super().format(record), lines=True)


class JsonFormatter(logging.Formatter):
    """`time`, `level`, `logger`, `message`, the fields `perdure_*`, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(
            (name, value) for name, value in vars(record).items() if name.startswith(_PREFIX)
        )
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return escape_json(json.dumps(line, ensure_ascii=False, default=str)).replace("\n", "\\n")


def set_up(*, as_json: bool, level: str) -> None:
    """Log everything of this process to the standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else ReadableFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
