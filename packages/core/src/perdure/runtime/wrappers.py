"""The wrappers of activities and of turns: what the plugins of one runtime answer when it is made."""

from __future__ import annotations

from typing import cast

import pluggy

from perdure.contract.hooks import ActivityWrapper, TurnWrapper
from perdure.errors import InvalidInput
from perdure.model.shown import shown


def activity_wrappers(plugins: pluggy.PluginManager) -> list[ActivityWrapper]:
    """In the order of the plugins; raises `InvalidInput` for an answer that cannot be called."""
    return cast("list[ActivityWrapper]", _answers(plugins, "perdure_wrap_activity"))


def turn_wrappers(plugins: pluggy.PluginManager) -> list[TurnWrapper]:
    """In the order of the plugins; raises `InvalidInput` for an answer that cannot be called."""
    return cast("list[TurnWrapper]", _answers(plugins, "perdure_wrap_turn"))


def _answers(plugins: pluggy.PluginManager, hook: str) -> list[object]:
    # Pluggy calls the plugin that was registered last first.
    answers = cast("list[object]", getattr(plugins.hook, hook)())
    for answer in answers:
        if not callable(answer):
            raise InvalidInput(
                f"{hook} returned {shown(answer)}; it must return an async function of a call and of"
                " what makes it, or None"
            )
    return answers[::-1]
