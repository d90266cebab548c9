"""Events and payloads as people read them: a line for each event, and what unfolds below it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, cast

from perdure.history import INCOMING, TERMINAL, Event, encode_event

from perdure_console.texts import duration_in_words

_TEXTS: Final = ("input", "result", "data", "output", "value", "previous", "retry")
"""Members that are JSON texts."""
_HIDDEN: Final = frozenset({*_TEXTS, "details", "reason", "headers"}) - {"retry"}
_LONGEST: Final = 100_000
"""Of what is shown of one payload, in characters."""
_TONES: Final = {
    "Failed": "bad",
    "Refused": "bad",
    "Completed": "good",
    "Fired": "good",
    "Started": "start",
    "Raised": "event",
    "Cancelled": "calm",
    "Requested": "calm",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One event of a history, as a page shows it."""

    number: int
    kind: str
    time: datetime
    after: str
    """How long after the event before, such as `+1.5s`."""
    tone: str
    title: str
    """What it is about: a name, an instance."""
    caused_by: int | None
    """The number of the schedule event that it answers."""
    is_cut: bool
    """Whether an instance can be rewound to it."""
    parts: tuple[tuple[str, str], ...]
    """Names and texts that unfold."""


def happenings(events: Sequence[Event], before: Event | None, *, hide: bool) -> Iterator[Happening]:
    """The events; `before` is the one in front of the first."""
    last = before
    for event in events:
        passed = timedelta(0) if last is None else event.time - last.time
        plain = cast("dict[str, object]", json.loads(encode_event(event)))
        scheduled = plain.pop("scheduled", None)
        yield Happening(
            number=event.event_id,
            kind=event.kind,
            time=event.time,
            after=f"+{duration_in_words(passed)}" if passed else "",
            tone=next((tone for end, tone in _TONES.items() if event.kind.endswith(end)), ""),
            title=_title(plain),
            caused_by=scheduled if isinstance(scheduled, int) else None,
            is_cut=isinstance(event, INCOMING) and not isinstance(event, TERMINAL),
            parts=tuple(_parts(plain, hide=hide)),
        )
        last = event


def pretty(text: str | None, *, hide: bool = False) -> str:
    """JSON text with indents; what is no JSON stays as it is."""
    if text is None:
        return ""
    if hide:
        return f"hidden, {len(text.encode('utf-8', 'surrogatepass')):,} bytes"
    try:
        shown = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        shown = text
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}… ({len(shown):,} characters)"


def _title(plain: Mapping[str, object]) -> str:
    words = [str(plain[name]) for name in ("name", "key", "purpose", "instance") if name in plain]
    if cast("int", plain.get("attempt", 1)) > 1:
        words.append(f"attempt {plain['attempt']}")
    details = plain.get("details")
    if isinstance(details, Mapping):
        words.append(str(cast("Mapping[str, object]", details).get("type_name", "")))
    return " ".join(word for word in words if word)


def _parts(plain: Mapping[str, object], *, hide: bool) -> Iterator[tuple[str, str]]:
    for name, value in plain.items():
        if name in ("kind", "at") or value in (None, [], {}):
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        hidden = hide and name in _HIDDEN
        if name in _TEXTS or hidden or isinstance(value, dict | list):
            yield name, pretty(text, hide=hidden)
        else:
            yield name, text
