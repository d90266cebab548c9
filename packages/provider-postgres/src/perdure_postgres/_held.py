"""Instances whose rows a transaction elsewhere holds, such as one of the application that stays open.

A call that meets one waits here, and not on a connection, until the server tells that the row is free;
calls for other instances go on. One question for all such rows is asked again and again while calls
wait. A row of which nothing is known yet costs the group that meets it its patience, once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final, TypeVar

from perdure.errors import ProviderError

from perdure_postgres._calls import Calls, as_json
from perdure_postgres._errors import RowsHeld
from perdure_postgres._texts import stored

T = TypeVar("T")

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.5
_PASSED_OVER: Final = 2.0
"""Seconds in which a look for work does not wait again for a row that it could not have."""


class HeldRows:
    """What is known of rows that transactions elsewhere hold."""

    def __init__(self, calls: Calls, *, patience: float) -> None:
        self._calls = calls
        self._patience = patience
        self._held: dict[str, asyncio.Event] = {}
        self._watching: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[object]] = set()
        self._passed_over: dict[str, float] = {}

    def among(self, instances: Collection[str]) -> frozenset[str]:
        """Those of the instances that are known to be held."""
        return frozenset(instances) & self._held.keys() if self._held else frozenset()

    async def look(self, instances: Collection[str]) -> frozenset[str]:
        """Ask which of the instances are held; they are watched until they are free."""
        held = await self._ask(instances)
        for instance in held:
            self._held.setdefault(instance, asyncio.Event())
        if self._held and self._watching is None:
            self._watching = asyncio.ensure_future(self._watch())
        return held

    async def carry_out(
        self, touched: Callable[[], Collection[str]], call: Callable[[], Awaitable[T]]
    ) -> T:
        """Make a call when none of the instances that it touches is known to be held.

        It is made again when it met a held row, for as long as calls of the provider may last; then
        it raises `RowsHeld`.
        """
        ends = time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            if self._held:
                await self._until_free(touched(), ends)
            try:
                return await call()
            except RowsHeld:
                if time.monotonic() >= ends:
                    raise
                if self.among(touched()) or await self.look(touched()):
                    continue
            # What is in the way cannot be seen, such as an id in a transaction that is not committed.
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def later(self, instance: str, call: Callable[[], Awaitable[object]]) -> None:
        """Make a call once the instance is free; nothing waits for it, and its failure is no news."""
        task: asyncio.Task[object] = asyncio.ensure_future(self._carry_out_quietly(instance, call))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def worth_waiting_for(self, rows: Collection[object]) -> list[object]:
        """Those of the rows that a look for work was not made to wait for a moment ago."""
        now = time.monotonic()
        self._passed_over = {row: at for row, at in self._passed_over.items() if at > now}
        return [row for row in rows if str(row) not in self._passed_over]

    def pass_over(self, rows: Collection[object]) -> None:
        """Note that a look for work could not have these rows."""
        ends = time.monotonic() + _PASSED_OVER
        self._passed_over.update((str(row), ends) for row in rows)

    async def close(self) -> None:
        """End what goes on in the background; waiting calls are made, and end with the database."""
        self._free(self._held.keys())
        tasks = [*self._later, *([self._watching] if self._watching else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out_quietly(
        self, instance: str, call: Callable[[], Awaitable[object]]
    ) -> None:
        with suppress(ProviderError):
            await self.carry_out(lambda: (instance,), call)

    async def _until_free(self, instances: Collection[str], ends: float) -> None:
        for instance in self.among(instances):
            freed = self._held.get(instance)
            if freed is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                        await freed.wait()

    async def _watch(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while self._held:
                await asyncio.sleep(pause)
                pause = min(1.5 * pause, _LONGEST_PAUSE)
                asked = frozenset(self._held)  # others may be found held meanwhile
                self._free(asked - await self._ask(asked))
        except ProviderError:
            # The calls themselves find out what is the matter.
            self._free(self._held.keys())
        finally:
            self._watching = None

    async def _ask(self, instances: Collection[str]) -> frozenset[str]:
        names = {stored(instance): instance for instance in instances}
        [(held,)] = await self._calls.call(
            "find_held", "find_held", as_json(list(names)), repeatable=True
        )
        return frozenset(names[name] for name in held)

    def _free(self, instances: Collection[str]) -> None:
        for instance in tuple(instances):
            self._held.pop(instance).set()
