"""The hook specifications: every way in which a package outside core can extend it.

Hooks are synchronous and called by keyword. A provider's plugin module, named by the entry point
group `perdure.providers`, implements `perdure_provider_specs`. Plugins given to `open_provider`,
`Client` or `Runtime` may implement the others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

import pluggy

from perdure.contract.provider import Provider
from perdure.model.record import record
from perdure.observe import ActivityCall, RuntimeEvent, TurnCall

if TYPE_CHECKING:
    from pydantic import BaseModel

PROJECT = "perdure"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks the implementation of a hook in a plugin."""


@record
class ProviderSpec:
    """The declaration of a provider package, which imports no driver."""

    scheme: str
    """The URL scheme, which is also the name of the entry point."""
    contract: tuple[int, int]
    """The version of the contract that the provider implements: major and minor."""
    capabilities: frozenset[str]
    """Any of `management`, `persistent` and `shared`, and of contract 1.1 `recovery`, `deletion`,
    `values`, `listing` and `transactions`."""
    options: Callable[[], type[BaseModel]]
    """Returns the options model, which forbids unknown options. Called when a provider is opened."""
    open: Callable[..., AbstractAsyncContextManager[Provider]]
    """`open(options, clock=…)` returns a context in which the provider is open."""
    example_url: str
    """A URL to show in messages and documents."""


ProviderWrapper = Callable[[Provider], Provider]
"""Takes the provider to wrap, and returns the one to use instead."""


@hookspec
def perdure_provider_specs() -> Sequence[ProviderSpec]:  # pyright: ignore[reportReturnType] # a specification has no body
    """The providers of this plugin. It must not import the driver."""


@hookspec
def perdure_wrap_provider(spec: ProviderSpec) -> ProviderWrapper | None:
    """A wrapper for a provider that is being opened (for metrics or faults), or None.

    The wrappers of all plugins are applied in the order of registration; the first is innermost.
    """


ActivityWrapper = Callable[[ActivityCall, Callable[[], Awaitable[object]]], Awaitable[object]]
"""Takes a call and what makes it; returns the activity's result, or raises its failure."""


@hookspec
def perdure_wrap_activity() -> ActivityWrapper | None:
    """A wrapper for the calls of activities, or None; asked for once, when a runtime is made.

    `await proceed()` calls the function, in the event loop or in a thread, with the context variables
    of the wrapper. What the wrapper returns is the result, and what it raises is the failure. It must
    let a cancellation pass. The wrapper of the plugin that was given first is the outermost one.
    """


TurnWrapper = Callable[[TurnCall, Callable[[], Awaitable[None]]], Awaitable[None]]
"""Takes a turn and what makes it; returns when the turn has ended."""


@hookspec
def perdure_wrap_turn() -> TurnWrapper | None:
    """A wrapper for turns, or None; asked for once, when a runtime is made.

    `await proceed()` runs the orchestration and commits, and raises what the turn fails with. The
    calls of the storage see the context variables of the wrapper, and the orchestration does not. A
    wrapper watches: what the turn comes to counts, and an error of the wrapper's own is logged. It
    must let a cancellation pass. The wrapper of the plugin that was given first is the outermost one.
    """


@hookspec
def perdure_observe(event: RuntimeEvent) -> None:
    """Called with every runtime event, in the runtime's event loop; must return quickly.

    An observer that raises is logged, and the others are called all the same.
    """


@hookspec
def perdure_headers(instance: str, orchestration: str) -> Mapping[str, str] | None:
    """Headers to add to an instance that a client with this plugin starts, or None.

    Called before anything is stored. The headers of the caller count first, then those of the
    plugin that was given first. What it raises, the start raises.
    """
