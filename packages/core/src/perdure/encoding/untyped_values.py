"""Checks values without an annotation, which decode to plain JSON values.

Lists, dictionaries, strings, numbers, booleans and None round-trip; a tuple or a set becomes a list, a
date its text, a model a dictionary. Each part must round-trip by its own type, so that nothing is
lost that an annotation could restore. A secret, a shifted datetime or keys that merge are therefore
refused here too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import cast

from pydantic_core import from_json, to_json

from perdure.encoding.differences import DoesNotRoundTrip, Path, Step, keys_differ, not_finite
from perdure.encoding.plain import is_plain_json


class UntypedValues:
    """`check_by_type` checks that a value round-trips by a type; returns whether it may contain sets."""

    __slots__ = ("_check_by_type",)

    def __init__(self, check_by_type: Callable[[object, object, Path], bool]) -> None:
        self._check_by_type = check_by_type

    def check(self, value: object, path: Path) -> bool:
        """Check a value; returns whether a part may be a set, which has no order.

        Raises `DoesNotRoundTrip` if a part does not round-trip by its own type.
        """
        if is_plain_json(value):
            return False
        if isinstance(value, dict):
            return self._check_entries(cast("Mapping[object, object]", value), path)
        if isinstance(value, list | tuple | deque):
            return self._check_items(cast("Collection[object]", value), path)
        if isinstance(value, set | frozenset):
            self._check_items(cast("Collection[object]", value), path)
            return True
        if isinstance(value, float) and not math.isfinite(value):
            raise not_finite(path)
        if isinstance(value, str | int | float) and not isinstance(value, Enum):
            return False  # of a subclass, equal to what comes back
        return self._check_by_type(value, type(value), path)

    def _check_items(self, value: Collection[object], path: Path) -> bool:
        unordered = False
        for index, item in enumerate(value):
            unordered |= self.check(item, Step(path, index))
        return unordered

    def _check_entries(self, value: Mapping[object, object], path: Path) -> bool:
        texts = cast("Mapping[str, None]", from_json(to_json(dict.fromkeys(value))))
        if len(texts) != len(value):
            raise keys_differ(path, value)
        for kind in {type(key) for key in value}:
            keys = [key for key in value if type(key) is kind]
            if not issubclass(kind, str):
                self._check_keys(keys, kind, value, path)
            elif not all(key in texts for key in keys):
                raise keys_differ(path, value)
        unordered = False
        for key, item in value.items():
            unordered |= self.check(item, Step(path, str(key)))
        return unordered

    def _check_keys(
        self, keys: list[object], kind: type, value: Mapping[object, object], path: Path
    ) -> None:
        try:
            self._check_by_type(dict.fromkeys(keys), dict[kind, None], path)
        except DoesNotRoundTrip as error:
            raise keys_differ(path, value) from error
