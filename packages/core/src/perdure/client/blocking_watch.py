"""Watching an instance without an event loop."""

from __future__ import annotations

from collections.abc import Iterator

from perdure.client.blocking_calls import Caller
from perdure.client.info import InstanceInfo
from perdure.client.watching import InstanceWatch


class BlockingWatch(Iterator[InstanceInfo]):
    """The changes of one instance; each step blocks until the next one."""

    def __init__(self, caller: Caller, watch: InstanceWatch) -> None:
        self._caller = caller
        self._watch = watch

    @property
    def instance(self) -> str:
        """The id of the instance."""
        return self._watch.instance

    def __next__(self) -> InstanceInfo:
        """The instance after its next change; raises `StopIteration` after the last one."""
        info = self._caller.run(self._watch.next_info)
        if info is None:
            raise StopIteration
        return info
