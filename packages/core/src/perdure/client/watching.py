"""Watching an instance: an asynchronous iterator of its infos, one for each change that it sees."""

from __future__ import annotations

from collections.abc import AsyncIterator

from perdure.client.any_loop import on_any_loop
from perdure.client.calls import has_ended
from perdure.client.info import InstanceInfo, instance_info
from perdure.client.waiting import until
from perdure.contract.provider import Provider
from perdure.records.instances import InstanceState


class InstanceWatch(AsyncIterator[InstanceInfo]):
    """The changes of one instance, as `Client.watch_instance` promises them."""

    def __init__(self, provider: Provider, instance: str) -> None:
        self._provider = provider
        self._instance = instance
        self._seen: InstanceState | None = None
        self._is_over = False

    @property
    def instance(self) -> str:
        """The id of the instance."""
        return self._instance

    async def __anext__(self) -> InstanceInfo:
        """The instance after its next change; raises `StopAsyncIteration` after the last one."""
        info = await self.next_info()
        if info is None:
            raise StopAsyncIteration
        return info

    @on_any_loop
    async def next_info(self) -> InstanceInfo | None:
        """The instance after its next change; None after the last one."""
        if self._is_over:
            return None
        change = await until(self._provider, self._instance, None, self._look)
        self._seen = change.state
        self._is_over = change.state is None or has_ended(change.state)
        return None if change.state is None else instance_info(change.state)

    async def _look(self, state: InstanceState | None) -> _Change | None:
        return None if state == self._seen else _Change(state)


class _Change:
    """What a look found; the instance may be gone."""

    __slots__ = ("state",)

    def __init__(self, state: InstanceState | None) -> None:
        self.state = state
