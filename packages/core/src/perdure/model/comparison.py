"""The setting `compare`: what happens if a value differs from the history.

The code must ask for the same things in the same order as the history has. The values that it
passes (inputs, due times, retry policies, tags, versions, results) may differ: the recorded ones
count, and `compare` decides whether the difference is reported. The most specific setting counts:
an activity's over its orchestration's over the runtime's.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, cast, get_args

from perdure.errors import InvalidInput
from perdure.model.shown import shown

Compare: TypeAlias = Literal["strict", "warn", "ignore"]
"""`warn` logs the difference once, `strict` parks the instance, `ignore` is silent."""

DEFAULT_COMPARE: Final[Compare] = "warn"
_KNOWN = get_args(Compare)


def check_compare(value: object, what: str = "compare") -> Compare:
    """Return it if it is one of the three; raises `InvalidInput`."""
    if value not in _KNOWN:
        raise InvalidInput(f'{what} {shown(value)} is unknown; pass "strict", "warn" or "ignore"')
    return cast("Compare", value)
