"""The client's records as JSON: their fields under their names.

Instants are ISO 8601 in UTC, durations seconds, payloads the JSON values that they are. An event has
the members of an exported history, and `time` beside its number of microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final, cast

from perdure import ApplicationFailure, ConfigurationFailure, InfrastructureFailure
from perdure.history import Event, encode_event

_PAYLOADS: Final = ("output", "custom_status")
_FAILURES: Final = (ApplicationFailure, ConfigurationFailure, InfrastructureFailure)


def to_plain(value: object) -> object:
    """Records as JSON-ready data."""
    if isinstance(value, _FAILURES):
        kind = cast("Mapping[str, object]", to_plain(value.kind))
        return {
            "category": value.category(),
            "kind": value.kind.tag,
            **kind,
            "display_message": value.display_message(),
        }
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _field(each.name, getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(each) for key, each in cast("Mapping[str, object]", value).items()}
    if isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes):
        return [to_plain(each) for each in cast("Sequence[object]", value)]
    return value


def event_to_plain(event: Event) -> dict[str, object]:
    """One event of a history."""
    plain = cast("dict[str, object]", json.loads(encode_event(event)))
    return {"event_id": event.event_id, "time": event.time.isoformat(), **plain}


def _field(name: str, value: object) -> object:
    if name in _PAYLOADS and isinstance(value, str):
        return json.loads(value)
    if name == "values":
        return {key: json.loads(text) for key, text in cast("Mapping[str, str]", value).items()}
    return to_plain(value)
