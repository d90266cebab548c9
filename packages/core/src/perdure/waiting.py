"""Waiting for the first of several things, leaving nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def first_of(*coroutines: Coroutine[object, object, object]) -> None:
    """Return when the first is done, with the others cancelled and gone; raises what they raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
