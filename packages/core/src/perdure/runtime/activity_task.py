"""The task of an activity: it knows whether the activity's own code cancelled it.

A cancellation that comes from outside (the runtime, or a host that ends all tasks) has no
outcome: the activity runs again elsewhere. One that the activity's code asks for is its outcome,
and would come again at each delivery.
"""

from __future__ import annotations

import asyncio
from typing import Any

from perdure.runtime.activity_context import CURRENT, ActivityContext


class ActivityTask(asyncio.Task[None]):
    """Runs one delivery of an activity."""

    activity: ActivityContext[object] | None = None
    """Of the function while it is called; what its code starts has the same context variable."""
    _own_cancels = 0

    def cancel(self, msg: Any = None) -> bool:
        """Cancel, and note whether the activity's own code asks for it."""
        if self.activity is not None and CURRENT.get(None) is self.activity:
            self._own_cancels += 1
        return super().cancel(msg)

    def uncancel(self) -> int:
        """Take a cancellation back, as timeouts and task groups do with their own."""
        self._own_cancels = max(0, self._own_cancels - 1)
        return super().uncancel()

    @property
    def cancelled_itself(self) -> bool:
        """Whether a cancellation that the activity's own code asked for stands."""
        return self._own_cancels > 0

    @property
    def cancelled_from_outside(self) -> bool:
        """Whether anything else asked for a cancellation."""
        return self.cancelling() > self._own_cancels

    def take_back_own(self) -> None:
        """The activity's function has ended: what its code asked for ends with it."""
        while self._own_cancels and self.cancelling():
            self.uncancel()
        self.activity = None
