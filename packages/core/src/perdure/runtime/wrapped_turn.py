"""A turn inside the wrappers of `perdure_wrap_turn`, which watch it and cannot change what comes of it.

What the turn returns or raises counts, whatever a wrapper does: an error of a wrapper is logged, and
a turn that a wrapper has left out is made all the same. So a plugin that only measures can neither
lose a commit that stands nor park an instance.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from perdure.contract.hooks import TurnWrapper
from perdure.diagnostics.failures import ends_the_process
from perdure.diagnostics.logs import of_instance
from perdure.model.wire import decode_start
from perdure.observe import TurnCall
from perdure.records.instances import Message, MessageKind
from perdure.replay.execution import Execution
from perdure.runtime.held_instance import HeldInstance

T = TypeVar("T")
_LOGGER = logging.getLogger("perdure.runtime")


def turn_call(
    held: HeldInstance, execution: Execution | None, messages: Sequence[Message]
) -> TurnCall:
    """What the wrappers are told. `execution`: None before its first turn."""
    headers = _headers_of_start(messages) if execution is None else execution.started.headers
    return TurnCall(
        instance=held.instance,
        incarnation=held.state.incarnation,
        execution=held.execution,
        orchestration=held.state.name,
        headers=headers or {},
    )


def _headers_of_start(messages: Sequence[Message]) -> Mapping[str, str] | None:
    if not messages or messages[0].kind is not MessageKind.START:
        return None
    try:
        return decode_start(messages[0].data).headers
    except ValueError:
        return None  # the delivery parks the instance


async def wrapped_turn(
    wrappers: Sequence[TurnWrapper], call: TurnCall, make: Callable[[], Awaitable[T]]
) -> T:
    """Make the turn inside the wrappers, the first one outermost."""
    turn = _Turn(make)
    proceed: Callable[[], Awaitable[None]] = turn.proceed
    for wrapper in reversed(wrappers):
        proceed = functools.partial(wrapper, call, proceed)
    try:
        await proceed()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        if error is turn.error or ends_the_process(error):
            raise
        _LOGGER.exception(
            "a wrapper of the turns of instance %r raised; the turn counts all the same",
            call.instance,
            extra=of_instance(call.instance),
        )
    if turn.error is not None:
        raise turn.error
    return turn.outcome[0] if turn.outcome else await turn.make()


class _Turn(Generic[T]):
    """A turn that is made once."""

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self._has_begun = False
        self.outcome: list[T] = []
        """What it came to; empty before."""
        self.error: BaseException | None = None

    async def proceed(self) -> None:
        """Make the turn, for a wrapper."""
        self.outcome.append(await self.make())

    async def make(self) -> T:
        """Make the turn; raises what it raises."""
        if self._has_begun:
            raise RuntimeError(
                "a turn is made once; a wrapper awaits `proceed()` once, and returns when it has ended"
            )
        self._has_begun = True
        try:
            return await self._make()
        except BaseException as error:
            self.error = error
            raise
