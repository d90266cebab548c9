"""The wrappers of activities and of turns: what the plugins of one runtime answer when it is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from perdure.contract.hooks import ActivityWrapper, TurnWrapper
from perdure.errors import InvalidInput
from perdure.model.shown import shown
from perdure.providers.plugins import create_plugin_manager


def activity_wrappers(plugins: Sequence[object]) -> list[ActivityWrapper]:
    """In the order of the plugins; raises `InvalidInput` for an answer that cannot be called."""
    return cast("list[ActivityWrapper]", _answers(plugins, "perdure_wrap_activity"))


def turn_wrappers(plugins: Sequence[object]) -> list[TurnWrapper]:
    """In the order of the plugins; raises `InvalidInput` for an answer that cannot be called."""
    return cast("list[TurnWrapper]", _answers(plugins, "perdure_wrap_turn"))


def _answers(plugins: Sequence[object], hook: str) -> list[object]:
    manager = create_plugin_manager(plugins)
    # Pluggy calls the plugin that was registered last first.
    answers = cast("list[object]", getattr(manager.hook, hook)())
    for answer in answers:
        if not callable(answer):
            raise InvalidInput(
                f"{hook} returned {shown(answer)}; it must return an async function of a call and of"
                " what makes it, or None"
            )
    return answers[::-1]
