"""The client of a stage: time skips while the test waits for an end, or a call of it sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from perdure.client import Client
from perdure.client.handle import Handle
from perdure.client.part import Wait
from perdure.clock import Clock, Instant
from perdure.contract.provider import Provider
from perdure.contract.waiting import pass_over
from perdure.model.durations import to_duration
from perdure.records.instances import InstanceState
from perdure.records.queries import ChangeWait
from perdure.testing.stage_provider import StageProvider
from perdure.testing.stage_time import StageTime

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class ClientClock(Clock):
    """The clock as the client has it: while a call of the test sleeps, time skips."""

    def __init__(self, time: StageTime) -> None:
        self._time = time

    def now(self) -> Instant:
        return self._time.clock.now()

    async def sleep(self, duration: timedelta) -> None:
        with self._time.sleeping(duration):
            await self._time.clock.sleep(duration)


class ClientLink(StageProvider):
    """The storage as the client of a stage sees it."""

    def __init__(self, inner: Provider, time: StageTime) -> None:
        super().__init__(inner, time)
        self.clock = ClientClock(time)

    async def wait_for_change(self, wait: ChangeWait) -> InstanceState | None:
        """Of every wait of the client, that of a watch too."""

        async def sleep(_: object) -> InstanceState | None:
            return await super(ClientLink, self).wait_for_change(wait)

        return await _wait(sleep, wait.instance, None, self._time)


class StageHandle(Handle[R_co]):
    """A handle whose waits let time skip."""

    __slots__ = ("_time",)

    def __init__(
        self, provider: Provider, instance: str, result_type: object, time: StageTime
    ) -> None:
        super().__init__(provider, instance, result_type)
        self._time = time

    async def _wait_for_end(self, timeout: timedelta | float | None) -> InstanceState:
        return await _wait(super()._wait_for_end, self.instance, timeout, self._time)


class StageClient(Client):
    """A client whose waits let time skip."""

    def __init__(self, provider: Provider, time: StageTime, *, plugins: Sequence[object]) -> None:
        super().__init__(provider, plugins=plugins)
        self._time = time

    async def _waiting(self, instance: str, timeout: timedelta | float | None, wait: Wait[R]) -> R:
        return await _wait(wait, instance, timeout, self._time)

    def _handle(self, instance: str, result_type: object, *, is_new: bool = False) -> Handle[Any]:
        del is_new  # a stage looks before it lets time skip
        return StageHandle(self.provider, instance, result_type, self._time)


async def _wait(
    wait: Wait[R], instance: str, timeout: timedelta | float | None, time: StageTime
) -> R:
    limit = None if timeout is None else to_duration(timeout, "timeout")
    with time.awaiting(instance, limit) as in_vain:
        waiting = asyncio.ensure_future(wait(limit))
        try:
            await asyncio.wait((waiting, in_vain), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                in_vain.result()
            return await waiting
        finally:
            waiting.cancel()
            waiting.add_done_callback(pass_over)
