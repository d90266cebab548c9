"""Letting each access of a call to its storage fail, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count

from perdure_conformance.expect import ClauseBroken, expect

MOST_STEPS = 300
"""A call for one instance takes fewer on any storage."""


async def fail_at_every_step(what: str, attempt: Callable[[int], Awaitable[bool]]) -> None:
    """Make attempts until one has fewer steps than its number.

    An attempt makes the call, lets the step with this number fail, and returns whether the call had so
    many steps.
    """
    for step in count(1):
        if step > MOST_STEPS:
            raise ClauseBroken(f"{what} did not end after {MOST_STEPS} steps")
        reached = await attempt(step)
        expect(reached or step > 1, f"the backend makes no step of {what} fail")
        if not reached:
            return
