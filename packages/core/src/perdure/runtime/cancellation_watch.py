"""How running activities hear of a cancellation that another process committed.

One wait serves all of them: the provider ends it if it can tell of changes, and looks once at its
end if it cannot (WAIT-6). A renewal would tell too, but it writes, so it comes rarely.

Activities that have just begun are left out. Most end before anything could cancel them, and each
end of one that is waited for would end the wait.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from perdure.clock import to_microseconds
from perdure.contract.provider import Provider
from perdure.errors import ProviderError
from perdure.records.queries import CancellationWait
from perdure.runtime.activity_leases import ActivityLeases, LostLeases
from perdure.runtime.repeated_failures import RepeatedFailures

_PAUSE: Final = timedelta(milliseconds=250)
"""Between two waits, and the least age of an activity that is waited for."""
_LONGEST_WAIT: Final = timedelta(milliseconds=500)
"""For a provider that knows of all work: a wait does not know of activities that begin meanwhile.
Any other provider looks at intervals, and a wait for each look costs least."""


class CancellationWatch:
    """See the module."""

    def __init__(
        self,
        provider: Provider,
        leases: ActivityLeases,
        poll_interval: timedelta,
        *,
        lost: LostLeases,
    ) -> None:
        self._provider = provider
        self._leases = leases
        self._lost = lost
        knows_at_once = provider.tells_of_changes and provider.tells_of_work
        longest = _LONGEST_WAIT if knows_at_once else poll_interval
        self._timeout = min(longest, poll_interval)

    async def watch(self) -> None:
        """Tell activities whose result is not wanted any more, for as long as the runtime runs."""
        if not self._provider.tells_of_cancellations:
            return
        clock = self._provider.clock
        failures = RepeatedFailures("waiting for cancellations", clock)
        while True:
            held = await self._leases.begun_before(lambda: clock.now() - to_microseconds(_PAUSE))
            if held:
                wait = CancellationWait(leases=tuple(held), timeout=self._timeout)
                try:
                    gone = await self._provider.wait_for_cancellation(wait)
                    failures.succeeded()
                    self._lost({lease: held[lease] for lease in gone if lease in held})
                except ProviderError as error:
                    failures.failed(error)
                    await clock.sleep(self._timeout)
            await clock.sleep(_PAUSE)
