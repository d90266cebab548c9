"""Waiting for the first of several things, leaving nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from perdure.contract.doorbell import Bell
from perdure.contract.provider import Provider
from perdure.contract.records import WorkWait

_FIRST_PAUSE = timedelta(milliseconds=20)
_LONGEST_PAUSE = timedelta(seconds=1)


async def first_of(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Return when one of them has ended; the others are cancelled and awaited.

    Raises what the first one raised.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


class Pause:
    """How long to wait after a look that found nothing: longer each time, until work comes.

    Where the provider knows when work comes, it ends the wait; the pause is then only the limit
    of its wait. Where it does not, this is adaptive polling.
    """

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE

    def reset(self) -> None:
        """Work was found: look again soon."""
        self._next = _FIRST_PAUSE

    async def wait(self, provider: Provider, bell: Bell, wait: WorkWait) -> None:
        """Return when the bell rings, the provider tells of work, or the pause is over."""
        pause, self._next = self._next, min(self._next * 2, _LONGEST_PAUSE)
        await first_of(
            bell.wait(),
            provider.wait_for_work(
                WorkWait(
                    timeout=pause,
                    serves=wait.serves,
                    activity_names=wait.activity_names,
                    activity_tags=wait.activity_tags,
                )
            ),
        )
