"""Bars as SVG, by hand: a library for drawings would be larger than all that is measured here."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _VALUES, _BAR, _GAP, _TOP = 720, 170, 110, 22, 10, 40
_FONT = 'font-family="sans-serif" font-size="13"'


def bars(title: str, figures: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A bar for each subject, as long as its median, with a line from the smallest to the largest."""
    longest = max(max(each) for _, each in figures) or 1.0
    scale = (_WIDTH - _LABELS - _VALUES) / longest
    height = _TOP + len(figures) * (_BAR + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="0" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (label, values) in enumerate(figures):
        parts += _bar(_TOP + number * (_BAR + _GAP), label, values, scale)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(top: int, label: str, values: Sequence[float], scale: float) -> list[str]:
    middle, line = median(values), top + _BAR / 2
    length = max(1.0, scale * middle)
    ends = [_LABELS + scale * each for each in (min(values), max(values))]
    return [
        f'<text x="{_LABELS - 8}" y="{line + 5}" text-anchor="end">{escape(label)}</text>',
        f'<rect x="{_LABELS}" y="{top}" width="{length:.1f}" height="{_BAR}" fill="#4878a8"/>',
        f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{line}" y2="{line}" stroke="black"/>',
        f'<text x="{ends[1] + 8:.1f}" y="{line + 5}">{middle:,.4g}</text>',
    ]
