"""How a loop of the runtime waits after a look that found nothing."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

from perdure.contract.notifier import Subscription
from perdure.contract.provider import Provider
from perdure.contract.waiting import first_of
from perdure.errors import ProviderError, StorageClosed
from perdure.records.queries import WorkWait

_LOGGER = logging.getLogger("perdure.runtime")
_FIRST_PAUSE = timedelta(milliseconds=20)
_AFTER_TROUBLE = timedelta(seconds=1)
"""How long to wait, at least, where the provider cannot: it is asked, and logged, no more often."""


class Pause:
    """How long to wait after a look that found nothing: longer each time, until work comes.

    Where the provider knows when work comes, it ends the wait; the pause is then only the limit
    of its wait. Where it does not, this is adaptive polling.
    """

    def __init__(self, longest: timedelta) -> None:
        self._longest = longest
        self.reset()

    def reset(self) -> None:
        """Work was found: look again soon."""
        self._next = min(_FIRST_PAUSE, self._longest)

    async def wait(self, provider: Provider, subscription: Subscription, wait: WorkWait) -> None:
        """Return when the subscription rings, the provider tells of work, or the pause is over.

        Where the provider cannot wait, the clock does. Raises `StorageClosed` alone.
        """
        pause, self._next = self._next, min(self._next * 2, self._longest)
        began = provider.clock.now()
        try:
            await first_of(
                subscription.wait(), provider.wait_for_work(replace(wait, timeout=pause))
            )
        except StorageClosed:
            raise
        except ProviderError as error:
            _LOGGER.warning("waiting for work failed: %s", error)
            passed = timedelta(microseconds=max(0, provider.clock.now() - began))
            await first_of(
                subscription.wait(), provider.clock.sleep(max(pause, _AFTER_TROUBLE) - passed)
            )
