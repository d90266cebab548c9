"""Calls the observers of one runtime: the implementations of `perdure_observe` among its plugins."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pluggy

from perdure.diagnostics.failures import ends_the_process
from perdure.observe import RuntimeEvent

_LOGGER = logging.getLogger("perdure.runtime")


class Observers:
    """The implementations of `perdure_observe` among the plugins of one runtime.

    Each is called apart: one that raises is logged, and changes nothing else.
    """

    def __init__(self, plugins: pluggy.PluginManager) -> None:
        self._calls: list[Callable[..., object]] = [
            implementation.function
            for implementation in plugins.hook.perdure_observe.get_hookimpls()
        ]
        self.any = bool(self._calls)
        """Whether there is an observer; if there is none, no event need be made."""

    def notify(self, event: RuntimeEvent) -> None:
        """Call every observer with the event."""
        for call in self._calls:
            try:
                call(event=event)
            except BaseException as error:
                if ends_the_process(error):
                    raise
                _LOGGER.exception("an observer raised on %s", type(event).__name__)
