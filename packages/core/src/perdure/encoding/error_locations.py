"""Finds the part of a value that caused an error which has no path."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import cast

from perdure.encoding.differences import DoesNotRoundTrip, Path, Step, not_finite
from perdure.encoding.round_trip import field_names


def explain_refusal(value: object, path: Path, error: ValueError) -> DoesNotRoundTrip | None:
    """The error for a value that pydantic cannot encode, if its own error has no path."""
    if "surrogates" in str(error):
        return DoesNotRoundTrip(
            _place_of_surrogates(value, path),
            "is a text with surrogates, which UTF-8 cannot carry",
            "remove them, or pass the bytes in base64",
        )
    if "recursion" in str(error).lower():
        why = "is nested deeper than the 200 levels that readers of JSON allow"
        return DoesNotRoundTrip(path, why, "make it flatter")
    return None


def explain_unreadable(value: object, path: Path) -> DoesNotRoundTrip | None:
    """The error for a value whose text pydantic cannot decode, if the reason is known."""
    for place, part in _all_parts(value, path):
        if isinstance(part, float) and not math.isfinite(part):
            return not_finite(place)
    return None


def _place_of_surrogates(value: object, path: Path) -> Path:
    for place, part in _all_parts(value, path):
        if isinstance(part, str) and not _is_encodable(part):
            return place
    return path


def _all_parts(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    pending = deque([(path, value)])
    while pending:
        place, part = pending.popleft()
        yield place, part
        pending.extend(_parts(part, place))


def _parts(value: object, path: Path) -> Iterator[tuple[Path, object]]:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            place = Step(path, str(key))
            yield place, key
            yield place, item
    elif isinstance(value, list | tuple | set | frozenset | deque):
        for index, item in enumerate(cast("Collection[object]", value)):
            yield Step(path, index), item
    else:
        for name in field_names(type(value)) or ():
            yield Step(path, name), getattr(value, name, None)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
