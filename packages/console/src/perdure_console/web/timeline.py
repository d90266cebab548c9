"""A history as bars over time: one row for each name, in as many lanes as ran at once.

All attempts of an activity stand in the row of its name, so retries are seen; what has not ended
reaches to now. Bars that are narrower than a pixel and follow each other are drawn as one, so that ten thousand
events are as cheap as some hundreds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from perdure import history
from perdure.history import Event

from perdure_console.texts import duration_in_words

WIDTH: Final = 1000
"""Of the drawing, in its own units."""
_MOST_LANES: Final = 8
_MOST_ROWS: Final = 60
_NARROWEST: Final = 2.0
_LANE: Final = 18
_STEPS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600,
    1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800, 2592000,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took time."""

    row: str
    kind: str
    """`activity`, `timer`, `wait` or `child`."""
    event: int
    """The number of its schedule event."""
    begin: datetime
    end: datetime | None
    outcome: str
    """`done`, `failed`, `cancelled`, `lost` (its execution ended before) or `open`."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A span as it is drawn."""

    x: float
    width: float
    y: int
    outcome: str
    event: int
    text: str
    """For people that point at it."""
    label: str
    """Inside it, where there is room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """All spans of one name."""

    name: str
    kind: str
    y: int
    height: int
    bars: tuple[Bar, ...]
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something at an instant: an event that came in, the end."""

    x: float
    kind: str
    event: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The part of the time that is drawn, in microseconds since the epoch."""

    begin: int
    end: int

    @property
    def length(self) -> int:
        """In microseconds, at least one millisecond."""
        return max(self.end - self.begin, 1000)

    def moved(self, share: float) -> Window:
        """As long, but later by this share of its length."""
        step = round(self.length * share)
        return Window(begin=self.begin + step, end=self.end + step)

    def scaled(self, factor: float) -> Window:
        """About the same middle, but so many times as long."""
        middle, half = (self.begin + self.end) // 2, max(round(self.length * factor / 2), 500)
        return Window(begin=middle - half, end=middle + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What is drawn."""

    rows: tuple[Row, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    height: int
    window: Window
    whole: Window
    more_rows: int
    length: str
    """Of the window, in words."""


def timeline_of(
    events: Sequence[Event], now: datetime, window: Window | None = None
) -> Timeline | None:
    """The drawing of a history; None if nothing has happened yet."""
    if not events:
        return None
    spans = list(_spans(events))
    end = events[-1].time if isinstance(events[-1], history.TERMINAL) else max(now, events[-1].time)
    whole = Window(
        begin=_micros(events[0].time), end=max(_micros(end), _micros(events[0].time) + 1000)
    )
    shown = window or _what_happened(whole, _micros(events[-1].time))
    rows, height, more = _rows(spans, shown, end)
    return Timeline(
        rows=rows,
        marks=tuple(_marks(events, shown)),
        ticks=tuple(_ticks(shown, whole)),
        height=max(height, 24),
        window=shown,
        whole=whole,
        more_rows=more,
        length=duration_in_words(timedelta(microseconds=shown.length)),
    )


def _what_happened(whole: Window, last: int) -> Window:
    """Without most of a long wait behind the last event, beside which all else would be narrow."""
    more = max((last - whole.begin) * 3 // 20, 500_000)
    return Window(begin=whole.begin, end=min(whole.end, last + more))


def _spans(events: Sequence[Event]) -> Iterator[Span]:
    """The spans in the order of their beginning."""
    found: dict[int, Span] = {}
    waits: dict[str, list[int]] = defaultdict(list)
    for event in events:
        match event:
            case history.ActivityScheduled():
                note = f"attempt {event.attempt}" if event.attempt > 1 else ""
                found[event.event_id] = _begun(event, event.name, "activity", note)
            case history.TimerCreated():
                found[event.event_id] = _begun(event, event.purpose, "timer")
            case history.ChildScheduled():
                found[event.event_id] = _begun(event, event.name, "child", event.instance)
            case history.WaitCreated():
                found[event.event_id] = _begun(event, event.name, "wait")
                waits[event.name].append(event.event_id)
            case history.EventRaised():
                # Waits are served in their order.
                if waits[event.name]:
                    _end(found, waits[event.name].pop(0), event, "done")
            case history.ActivityCompleted():
                _end(found, event.scheduled, event, "done", _delivery(event))
            case history.ActivityFailed():
                notes = (_delivery(event), event.details.type_name)
                _end(found, event.scheduled, event, "failed", *notes)
            case history.TimerFired() | history.ChildCompleted():
                _end(found, event.scheduled, event, "done")
            case history.ChildFailed():
                _end(found, event.scheduled, event, "failed", event.details.type_name)
            case history.ChildRefused():
                _end(found, event.scheduled, event, "failed", "its id was in use")
            case history.WorkCancelled():
                _end(found, event.scheduled, event, "cancelled")
                for numbers in waits.values():
                    if event.scheduled in numbers:
                        numbers.remove(event.scheduled)
            case _:
                pass
    last = events[-1]
    for span in found.values():
        if span.end is None and isinstance(last, history.TERMINAL):
            yield replace(span, end=last.time, outcome="lost")
        else:
            yield span


def _begun(event: Event, name: str, kind: str, note: str = "") -> Span:
    return Span(
        row=name,
        kind=kind,
        event=event.event_id,
        begin=event.time,
        end=None,
        outcome="open",
        note=note,
    )


def _delivery(event: history.ActivityCompleted | history.ActivityFailed) -> str:
    """Which delivery ended, where processes had ended under earlier ones."""
    return "" if event.delivery is None else f"delivery {event.delivery}"


def _end(found: dict[int, Span], number: int, event: Event, outcome: str, *further: str) -> None:
    span = found.get(number)
    if span is not None:
        notes = ": ".join(part for part in (span.note, *further) if part)
        found[number] = replace(span, end=event.time, outcome=outcome, note=notes)


def _rows(spans: Iterable[Span], window: Window, now: datetime) -> tuple[tuple[Row, ...], int, int]:
    groups: dict[tuple[str, str], list[Span]] = defaultdict(list)
    for span in spans:
        begin, end = _micros(span.begin), _micros(span.end or now)
        if end >= window.begin and begin <= window.end:
            groups[span.kind, span.row].append(span)
    rows: list[Row] = []
    y = 0
    for (kind, name), found in list(groups.items())[:_MOST_ROWS]:
        bars, lanes = _bars(found, window, now)
        height = lanes * _LANE + 10
        shifted = tuple(replace(bar, y=bar.y + y + 5) for bar in bars)
        rows.append(Row(name=name, kind=kind, y=y, height=height, bars=shifted, count=len(found)))
        y += height
    return tuple(rows), y, max(0, len(groups) - _MOST_ROWS)


def _bars(spans: Sequence[Span], window: Window, now: datetime) -> tuple[list[Bar], int]:
    """Bars in the first lane that is free; what does not fit into eight shares the last."""
    free: list[float] = []
    last: dict[int, int] = {}
    bars: list[Bar] = []
    for span in spans:
        x = _x(_micros(span.begin), window)
        width = max(_x(_micros(span.end or now), window) - x, _NARROWEST)
        lane = next((number for number, at in enumerate(free) if at <= x + 0.01), len(free))
        if lane >= _MOST_LANES:
            lane = _MOST_LANES - 1
        free[lane:] = [
            max(x + width, free[lane]) if lane < len(free) else x + width,
            *free[lane + 1 :],
        ]
        before = last.get(lane)
        if width <= _NARROWEST and before is not None:
            bar = bars[before]
            if bar.outcome == span.outcome and x - (bar.x + bar.width) < 1:
                merged = max(bar.width, x + width - bar.x)
                bars[before] = replace(bar, width=merged, label="", text="several; zoom in")
                continue
        last[lane] = len(bars)
        bars.append(_bar(span, x, width, lane * _LANE, now))
    return bars, max(len(free), 1)


def _bar(span: Span, x: float, width: float, y: int, now: datetime) -> Bar:
    took = duration_in_words((span.end or now) - span.begin)
    words = [span.row, span.note, took, span.outcome]
    label = span.note if span.kind in ("child", "activity") and span.note else took
    return Bar(
        x=round(x, 2),
        width=round(width, 2),
        y=y,
        outcome=span.outcome,
        event=span.event,
        text=", ".join(word for word in words if word),
        label=label if width > 8 * len(label) else "",
    )


def _marks(events: Iterable[Event], window: Window) -> Iterator[Mark]:
    drawn: set[tuple[str, int]] = set()
    for event in events:
        match event:
            case history.EventRaised():
                kind, text = "event", f"event {event.name}"
            case history.CancelRequested():
                kind, text = "cancel", "cancellation requested"
            case history.OrchestrationCompleted():
                kind, text = "done", "completed"
            case history.OrchestrationFailed():
                kind, text = "failed", "failed"
            case _:
                continue
        at = _micros(event.time)
        if not window.begin <= at <= window.end:
            continue
        x = _x(at, window)
        if (kind, round(x)) not in drawn:
            drawn.add((kind, round(x)))
            yield Mark(x=round(x, 2), kind=kind, event=event.event_id, text=text)


def _ticks(window: Window, whole: Window) -> Iterator[tuple[float, str]]:
    """Some round durations since the beginning of the history."""
    seconds = window.length / 1e6
    step = next((each for each in _STEPS if seconds / each <= 8), math.ceil(seconds / 8))
    begin = (window.begin - whole.begin) / 1e6
    number = math.ceil(begin / step)
    while number * step <= begin + seconds:
        at = whole.begin + round(number * step * 1e6)
        text = "0" if number == 0 else f"{'-' if number < 0 else '+'}{_short(abs(number * step))}"
        yield round(_x(at, window), 2), text
        number += 1


def _short(seconds: float) -> str:
    return f"{seconds:g}s" if 1 <= seconds < 10 else duration_in_words(timedelta(seconds=seconds))


def _x(at: int, window: Window) -> float:
    share = (at - window.begin) / window.length
    return min(max(share, -0.02), 1.02) * WIDTH


def _micros(moment: datetime) -> int:
    return (moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
