"""The context: the durable calls of an orchestration. Everything else is ordinary asyncio."""

from __future__ import annotations

import asyncio
import logging
import random
from asyncio import events
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import (
    Concatenate,
    NoReturn,
    ParamSpec,
    TypeVar,
)
from uuid import UUID

from perdure.clock import to_datetime, to_microseconds
from perdure.errors import InvalidDuration, InvalidInput
from perdure.model.durations import to_duration
from perdure.model.identifiers import check_identifier
from perdure.model.payload import encode
from perdure.replay.calls import check_optional_version, read_orchestration_call
from perdure.replay.commands import Commands
from perdure.replay.event_context import EventContext
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.replay_logger import ReplayLogger
from perdure.replay.scheduling import require_function
from perdure.replay.signals import ExecutionEnded

P = ParamSpec("P")
R = TypeVar("R")


class OrchestrationContext(EventContext):
    """The first argument of an orchestration; valid for one execution.

    A `schedule_*` call schedules the work at once and returns a future; awaiting it is optional.
    Cancelling the future cancels the work. All methods are synchronous and cost no turn.
    """

    __slots__ = ("_logger",)

    def __init__(self, commands: Commands) -> None:
        super().__init__(commands)
        self._logger: ReplayLogger | None = None

    @property
    def instance(self) -> str:
        """The id under which the instance was started."""
        return self._commands.started.instance

    @property
    def execution(self) -> int:
        """The number of this execution, from 1; `continue_as_new` begins the next."""
        return self._commands.started.execution

    @property
    def name(self) -> str:
        """The registered name of the orchestration."""
        return self._commands.definition.name

    @property
    def version(self) -> str:
        """The version that runs."""
        return self._commands.definition.version

    @property
    def headers(self) -> Mapping[str, str]:
        """What was given as `headers` at the start; activities and children have them too."""
        return MappingProxyType(dict(self._commands.started.headers or {}))

    @property
    def is_replaying(self) -> bool:
        """Whether the code is being replayed.

        Use it for side effects of the process only, such as a progress bar: a decision that depends
        on it disagrees with the history.
        """
        return self._commands.transcript.replaying

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger `perdure.orchestration.NAME`: logs nothing in replay, and names the instance."""
        if self._logger is None:
            self._logger = ReplayLogger(self._commands.log)
        return self._logger

    def now(self) -> datetime:
        """The time of the current event, in UTC, as the history has it."""
        return to_datetime(self._commands.loop.now)

    def uuid4(self) -> UUID:
        """A unique UUID that is the same in every replay."""
        self._commands.require_running("ctx.uuid4")
        return self._commands.randomness.uuid()

    def random(self) -> random.Random:
        """A source of random numbers that are the same in every replay; not for secrets."""
        self._commands.require_running("ctx.random")
        return self._commands.randomness.random()

    def patched(self, name: str) -> bool:
        """Whether the changed code applies to this execution: True if it began after the change.

        An execution that came to the call before the change gets False, every time it asks. One
        that comes to it for the first time gets True, and its history records that once. Runtimes
        of an older Perdure leave such an instance alone.
        """
        commands = self._commands
        commands.require_running("ctx.patched")
        return commands.patched(check_identifier(name, "patch name"), deprecated=False)

    def deprecate_patch(self, name: str) -> None:
        """Take the place of `patched` once no execution is left that gets False.

        Executions that recorded the patch go on. When none of those is left either, remove the call:
        histories that only this call has marked agree with code without it.
        """
        commands = self._commands
        commands.require_running("ctx.deprecate_patch")
        commands.patched(check_identifier(name, "patch name"), deprecated=True)

    def schedule_timer(self, delay: timedelta | float | datetime) -> asyncio.Future[None]:
        """A future that completes after `delay` (a `timedelta` or seconds), or at an aware datetime.

        The timer is durable: it fires once and never early, even if no process ran meanwhile.
        """
        commands = self._commands
        commands.require_running("ctx.schedule_timer")
        if isinstance(delay, datetime):
            if delay.tzinfo is None:
                raise InvalidDuration(f"{delay!r} has no time zone; pass an aware datetime")
            fire_at = to_microseconds(delay - to_datetime(0))
        else:
            fire_at = commands.loop.now + to_microseconds(to_duration(delay, "delay"))
        return commands.schedule_timer(fire_at)

    def continue_as(
        self,
        orchestration: Callable[Concatenate[OrchestrationContext, P], Awaitable[object]],
        *,
        version: str | None = None,
    ) -> Callable[P, NoReturn]:
        """The next execution, to be called with this orchestration's own arguments.

        `ctx.continue_as(countdown)(left - 1, seen=seen)` does what `continue_as_new` does, and a
        type checker sees the parameters. `orchestration` is the function of this orchestration,
        or of another version of it; which version runs is what `version` says. Raises
        `InvalidInput` for the function of another orchestration.
        """
        require_function(orchestration, "continue_as", "continue_as_new")

        def end(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
            self._commands.require_running("ctx.continue_as")
            check_optional_version(version)
            asked = read_orchestration_call(orchestration, args, kwargs)
            if asked.name != self.name:
                raise InvalidInput(
                    f"ctx.continue_as was given orchestration {asked.name!r} in {self.name!r}, which"
                    " goes on as itself; use ctx.orchestration to start another"
                )
            self._commands.continue_as_new(asked.text, version)
            raise ExecutionEnded

        return end

    def continue_as_new(self, input: object = None, *, version: str | None = None) -> NoReturn:
        """End this execution and begin the next with a fresh history and this input.

        The call never returns, and nothing after it has an effect, cleanup included. Events that no
        wait has taken are carried over in order; timers, activities and children of this execution
        are cancelled. Without `version`, the newest version runs.

        `input` is what the orchestration takes: the value of its one parameter, or a dictionary
        by the names of several, which `continue_as` takes as arguments. Without `version`, it is
        checked against this orchestration's own parameters: raises `InvalidPayload` if it does not
        fit. The input of another version is not checked.
        """
        commands = self._commands
        commands.require_running("ctx.continue_as_new")
        check_optional_version(version)
        if version is None:
            parameters = commands.definition.reference.parameters
            text = parameters.encode_payload(input, f"orchestration {self.name!r}")
        else:
            text = encode(input, what="input")
        commands.continue_as_new(text, version)
        raise ExecutionEnded


def orchestration_context() -> OrchestrationContext | None:
    """The context of the orchestration whose code calls this, or None outside an orchestration.

    A library that is used inside and outside of orchestrations learns from it whether to schedule an
    activity or to do the work itself. Activities, threads and the host's own code are outside.
    """
    loop = events._get_running_loop()
    context = loop.context if isinstance(loop, OrchestrationLoop) else None
    return context if isinstance(context, OrchestrationContext) else None
