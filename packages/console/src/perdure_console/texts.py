"""Texts for people: times, states, and foreign text that cannot steer a terminal."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from perdure import InstanceInfo

_STEERING: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters, what changes the direction of text, and surrogates, which UTF-8 cannot carry."""
_BUT_LINES: Final = re.compile(_STEERING.pattern.replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))

COLOURS: Final = {
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "continuedasnew": "blue",
    "parked": "yellow",
}
"""Of the words for states, on a terminal."""


def visible(text: str, *, lines: bool = False) -> str:
    """The text with what would steer a terminal as escapes; ids and payloads come from anywhere.

    With `lines`, line breaks stay.
    """
    return (_BUT_LINES if lines else _STEERING).sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode()


def escape_json(text: str) -> str:
    """JSON text with what would steer a terminal as escapes of JSON."""
    return _BUT_LINES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def state_of(info: InstanceInfo) -> str:
    """The state of an instance in a word, or two if it is parked."""
    if info.parked is not None:
        return f"parked ({info.parked.reason})"
    return info.status.value.lower()


def colour_of(state: str) -> str:
    """The colour of a state's word."""
    return COLOURS.get(state.partition(" ")[0], "")


def in_utc(moment: datetime) -> str:
    """An instant to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def duration_in_words(passed: timedelta) -> str:
    """A duration in its two largest units, such as `3h 20m`."""
    seconds = passed.total_seconds()
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    if seconds < 10:
        return f"{seconds:.1f}s"
    units = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
    parts: list[str] = []
    left = round(seconds)
    for size, unit in units:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])
