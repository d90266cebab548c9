"""Wraps the storage of a stage in a provider that counts, holds or fails its calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import perdure
from perdure.contract import (
    CommitAnswer,
    DelegatingProvider,
    Provider,
    ProviderSpec,
    TurnCommit,
)

W = TypeVar("W", bound=Provider)


class Wrapping(Generic[W]):
    """A plugin: `Stage(app, plugins=[wrapping])`."""

    def __init__(self, wrapper: Callable[[Provider], W]) -> None:
        self._wrapper = wrapper

    @property
    def provider(self) -> W:
        """The wrapper, once the stage is entered."""
        return self._provider

    @perdure.hookimpl
    def perdure_wrap_provider(self, spec: ProviderSpec) -> Callable[[Provider], Provider]:
        """Called by `open_provider`."""
        del spec
        return self._wrap

    def _wrap(self, provider: Provider) -> W:
        self._provider = self._wrapper(provider)
        return self._provider


class Killing(DelegatingProvider):
    """A turn of one instance never commits, until the test kills its process."""

    victim = "victim"

    async def commit_turn(self, commit: TurnCommit) -> CommitAnswer:
        if commit.instance == self.victim:
            await asyncio.Event().wait()
        return await super().commit_turn(commit)
