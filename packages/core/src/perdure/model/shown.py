"""A value as a message shows it: short, on one line, and whatever its `repr` does."""

from __future__ import annotations

_LONGEST = 80
"""In characters."""


def shown(value: object) -> str:
    """The `repr` of the value, shortened; where it has none, its class."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 # a repr of the user's own, or of an int with too many digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
