"""How running activities hear of a cancellation that was committed elsewhere.

One wait serves all of them: the provider ends it where it can tell of changes, and looks once at
its end where it cannot. A renewal would tell too, but it writes, so it comes rarely.

Activities that have just begun are left out. Most end before anything could cancel them, and each
end of one that is waited for would end the wait.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from perdure.contract.provider import Provider
from perdure.errors import ProviderError
from perdure.records.queries import CancellationWait
from perdure.runtime.activities import Activities

_LOGGER = logging.getLogger("perdure.runtime")
_PAUSE: Final = timedelta(milliseconds=250)
"""Between two waits, and the least age of an activity that is waited for."""
_LONGEST_WAIT: Final = timedelta(milliseconds=500)
"""Of a provider that hears of all that happens: it is not told of activities that begin meanwhile.
Any other looks at intervals, and a wait for each look costs least."""


class CancellationWatch:
    """See the module."""

    def __init__(
        self, provider: Provider, activities: Activities, poll_interval: timedelta
    ) -> None:
        self._provider = provider
        self._activities = activities
        hears_at_once = provider.tells_of_changes and provider.tells_of_work
        longest = _LONGEST_WAIT if hears_at_once else poll_interval
        self._timeout = min(longest, poll_interval)

    async def watch(self) -> None:
        """Tell activities whose result is not wanted any more, for as long as the runtime runs."""
        if not self._provider.tells_of_cancellations:
            return
        while True:
            leases = await self._activities.running_for(_PAUSE)
            if leases:
                wait = CancellationWait(leases=leases, timeout=self._timeout)
                try:
                    self._activities.lost(await self._provider.wait_for_cancellation(wait))
                except ProviderError as error:
                    _LOGGER.warning("waiting for cancellations failed: %s", error)
                    await self._provider.clock.sleep(self._timeout)
            await self._provider.clock.sleep(_PAUSE)
