"""The hook specifications: every way in which a package outside core can extend it.

Hooks are synchronous and called by keyword. A provider's plugin module, named by the entry point
group `perdure.providers`, implements `perdure_provider_specs`. Plugins given to `open_provider`
or `Runtime` may implement the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pluggy

from perdure.contract.provider import Provider
from perdure.observe import RuntimeEvent

if TYPE_CHECKING:
    from pydantic import BaseModel

PROJECT = "perdure"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks the implementation of a hook in a plugin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """What a provider package declares about itself, without importing its driver."""

    scheme: str
    """The URL scheme, as the entry point is named."""
    contract: tuple[int, int]
    """The version of the contract that it was written for."""
    capabilities: frozenset[str]
    """Of `management`, `persistent`, `shared`."""
    options: Callable[[], type[BaseModel]]
    """Gives the options model; it forbids unknown options. Called when a provider is opened."""
    open: Callable[..., AbstractAsyncContextManager[Provider]]
    """`open(options, clock=…)`: the provider, open as long as the context lasts."""
    example_url: str


ProviderWrapper = Callable[[Provider], Provider]
"""Takes the provider to wrap, and returns the one to use instead."""


@hookspec
def perdure_provider_specs() -> Sequence[ProviderSpec]:  # pyright: ignore[reportReturnType] # a specification has no body
    """The providers of this plugin. Must not import the driver."""


@hookspec
def perdure_wrap_provider(spec: ProviderSpec) -> ProviderWrapper | None:
    """A wrapper for a provider that is about to be used (metrics, faults), or None.

    Every plugin's wrapper is applied, in the order of registration: the first is innermost.
    """


@hookspec
def perdure_observe(event: RuntimeEvent) -> None:
    """Called with every runtime event, in the runtime's event loop; must return quickly.

    An observer that raises is logged, and the others are called all the same.
    """
