"""Checks values that no annotation describes: what comes back is what JSON says.

Lists, dictionaries, texts, numbers, true, false and null come back, a tuple or a set as a list, a
date as its text, a model as a dictionary. Each part must be one that would come back by its own
type: then nothing is lost that an annotation could give back, and a secret, a shifted instant or
keys that merge are refused here too.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import cast

from pydantic_core import from_json, to_json

from perdure.codec.differences import DoesNotComeBack, Path, Step, keys_differ, not_finite
from perdure.codec.plain import is_plain_json


class JsonReading:
    """`check_by_type` checks that a value comes back by a type, and says whether it may hold sets."""

    __slots__ = ("_check_by_type",)

    def __init__(self, check_by_type: Callable[[object, object, Path], bool]) -> None:
        self._check_by_type = check_by_type

    def check(self, value: object, path: Path) -> bool:
        """Whether some part may have no order.

        Raises `DoesNotComeBack` where some part would not come back by its own type.
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
        except DoesNotComeBack as error:
            raise keys_differ(path, value) from error
