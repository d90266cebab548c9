"""The wrappers of activities: the answers to `perdure_wrap_activity` of one runtime's plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from perdure.contract.hooks import ActivityWrapper
from perdure.errors import InvalidInput
from perdure.model.shown import shown
from perdure.providers.plugins import create_plugin_manager


def wrappers_of(plugins: Sequence[object]) -> list[ActivityWrapper]:
    """In the order of the plugins; raises `InvalidInput` for an answer that cannot be called."""
    manager = create_plugin_manager(plugins)
    # Pluggy calls the plugin that was registered last first.
    answers = cast("list[object]", manager.hook.perdure_wrap_activity())
    for answer in answers:
        if not callable(answer):
            raise InvalidInput(
                f"perdure_wrap_activity returned {shown(answer)}; it must return an async function"
                " of a call and of what makes it, or None"
            )
    return cast("list[ActivityWrapper]", answers[::-1])
