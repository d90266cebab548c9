"""The tag that only one runtime serves: work that is scheduled with it stays on this runtime."""

from __future__ import annotations

import uuid


class WorkerTag:
    """Made with the runtime; served from the moment on at which its value is first asked for.

    Until then no activity can have it, and looks for work do not ask the storage for it.
    """

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value: str | None = None

    @property
    def value(self) -> str:
        """The tag."""
        if self._value is None:
            self._value = f"worker:{uuid.uuid4().hex}"
        return self._value

    def among(self, tags: frozenset[str | None]) -> frozenset[str | None]:
        """These tags and, if it is served, this one."""
        return tags if self._value is None else tags | {self._value}
