"""The context: the durable calls of an orchestration. Everything else is ordinary asyncio."""

from __future__ import annotations

import asyncio
import logging
import random
from asyncio import events
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    NoReturn,
    ParamSpec,
    TypeAlias,
    TypeVar,
    overload,
)
from uuid import UUID

from perdure.authoring.functions import ContextMarker
from perdure.authoring.retry import RetryPolicy
from perdure.clock import to_datetime, to_microseconds
from perdure.errors import InvalidDuration, InvalidInput
from perdure.model.durations import to_duration
from perdure.model.identifiers import check_identifier
from perdure.model.payload import check_annotation, encode
from perdure.model.settings import require
from perdure.model.shown import shown
from perdure.replay.calls import (
    OMITTED,
    check_optional_id,
    check_optional_version,
    only_input,
    read_activity_call,
    read_orchestration_call,
)
from perdure.replay.commands import Commands
from perdure.replay.loop import OrchestrationLoop
from perdure.replay.replay_logger import ReplayLogger
from perdure.replay.signals import ExecutionEnded

if TYPE_CHECKING:
    from typing_extensions import TypeForm

I = TypeVar("I")  # noqa: E741 # the input
P = ParamSpec("P")
R = TypeVar("R")
OnInvalid: TypeAlias = Literal["wait", "raise"]
"""What a wait does with an event whose data does not fit: keep waiting, or raise."""

Cancellation: TypeAlias = Literal["drop", "wait"]
"""What a cancellation does to an activity that is under way."""


class OrchestrationContext(ContextMarker):
    """The first argument of an orchestration; valid for one execution.

    A `schedule_*` call schedules the work at once and returns a future; awaiting it is optional.
    Cancelling the future cancels the work. All methods are synchronous and cost no turn.
    """

    __slots__ = ("_commands", "_logger")

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
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

    @overload
    def activity(
        self,
        activity: Callable[P, Awaitable[R]],
        *,
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        cancellation: Cancellation = "drop",
    ) -> Callable[P, asyncio.Future[R]]: ...
    @overload
    def activity(
        self,
        activity: Callable[P, R],
        *,
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        cancellation: Cancellation = "drop",
    ) -> Callable[P, asyncio.Future[R]]: ...
    def activity(
        self,
        activity: Callable[..., object],
        *,
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        cancellation: Cancellation = "drop",
    ) -> Callable[..., asyncio.Future[Any]]:
        """The activity, to be called with its own arguments: `ctx.activity(charge)(order, cents=500)`.

        The call schedules it, as `schedule_activity` does, and returns the future of its result.
        A type checker sees the parameters and the result of the function. An argument that is
        left out takes its default in the activity; it is not stored.
        """
        _require_function(activity, "activity")

        def schedule(*args: object, **kwargs: object) -> asyncio.Future[Any]:
            return self._schedule_activity(
                "ctx.activity", activity, args, kwargs, Any, retry, tag, cancellation
            )

        return schedule

    @overload
    def schedule_activity(
        self,
        activity: Callable[[I], Awaitable[R]],
        input: I,
        *,
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        cancellation: Cancellation = "drop",
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_activity(
        self,
        activity: Callable[[], Awaitable[R]],
        *,
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        cancellation: Cancellation = "drop",
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_activity(
        self,
        activity: Callable[[I], R],
        input: I,
        *,
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        cancellation: Cancellation = "drop",
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_activity(
        self,
        activity: Callable[[], R],
        *,
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        cancellation: Cancellation = "drop",
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_activity(
        self,
        activity: str,
        input: object = ...,
        *,
        result_type: TypeForm[R] = Any,
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        cancellation: Cancellation = "drop",
    ) -> asyncio.Future[R]: ...
    def schedule_activity(
        self,
        activity: Callable[..., object] | str,
        input: object = OMITTED,
        *,
        result_type: object = Any,
        retry: RetryPolicy | None = None,
        tag: str | None = None,
        cancellation: Cancellation = "drop",
    ) -> asyncio.Future[Any]:
        """Run an activity, given as the function or by its registered name.

        With a function, `input` is its first argument; `ctx.activity` passes several. With a
        name, `input` is what the activity takes: the value of its one parameter, or a dictionary
        by the names of several; the result is decoded as `result_type`.

        The future raises `ActivityFailed`, or `ActivityTimeout` if a limit of the policy is over.
        Without `retry` there is one attempt. `tag` routes it to runtimes that run the tag.

        `cancellation` says what a cancellation of the future, or of the task that awaits it, means
        for work that is under way. With `"drop"` the result is discarded. With `"wait"` the activity
        is asked to end (`cancel_requested`), no attempt follows the one under way, and the await
        continues until its outcome arrives; then `CancelledError` is raised, and the future holds
        the outcome, which you can await again.

        Raises `InvalidPayload` if the input does not fit the activity's parameters.
        """
        args, call = only_input(input), "ctx.schedule_activity"
        return self._schedule_activity(
            call, activity, args, {}, result_type, retry, tag, cancellation
        )

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

    def schedule_wait(
        self, name: str, result_type: TypeForm[R] = Any, *, on_invalid: OnInvalid = "wait"
    ) -> asyncio.Future[R]:
        """Wait for the next external event of this name; its data is decoded as `result_type`.

        A type is anything that pydantic decodes: a class, `list[Order]`, a union such as
        `Approved | Refused`. Without one, the data is the plain JSON value.

        Events that were raised before the wait, even before the start, are kept. Waits get events in
        the order in which they were raised, and each event goes to exactly one wait. An event whose
        data does not fit `result_type` is consumed and reported (history, log, observers), and the
        wait continues; with `on_invalid="raise"` the future raises `InvalidPayload` instead.
        """
        commands = self._commands
        commands.require_running("ctx.schedule_wait")
        check_annotation(result_type, f"result_type of event {shown(name)}")
        if on_invalid not in ("wait", "raise"):
            raise InvalidInput(f'on_invalid {shown(on_invalid)} is unknown; pass "wait" or "raise"')
        name = check_identifier(name, "event name")
        return commands.schedule_wait(name, result_type, raises=on_invalid == "raise")

    def sub_orchestration(
        self,
        orchestration: Callable[Concatenate[OrchestrationContext, P], Awaitable[R]],
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> Callable[P, asyncio.Future[R]]:
        """A child orchestration, to be called with its own arguments besides the context.

        `ctx.sub_orchestration(ship, instance="ship-1")(order, express=True)` starts it, as
        `schedule_sub_orchestration` does, and returns the future of its result. A type checker
        sees the parameters and the result of the function.
        """
        _require_function(orchestration, "sub_orchestration")

        def schedule(*args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
            return self._schedule_child(
                "ctx.sub_orchestration", orchestration, args, kwargs, Any, instance, version
            )

        return schedule

    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: Callable[[OrchestrationContext, I], Awaitable[R]],
        input: I,
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: Callable[[OrchestrationContext], Awaitable[R]],
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: str,
        input: object = ...,
        *,
        instance: str | None = None,
        version: str | None = None,
        result_type: TypeForm[R] = Any,
    ) -> asyncio.Future[R]: ...
    def schedule_sub_orchestration(
        self,
        orchestration: Callable[..., object] | str,
        input: object = OMITTED,
        *,
        instance: str | None = None,
        version: str | None = None,
        result_type: object = Any,
    ) -> asyncio.Future[Any]:
        """Run a child orchestration; the future gets its result, also after it continued as new.

        With a function, `input` is its first argument after the context; `ctx.sub_orchestration`
        passes several. With a name, `input` is what it takes: the value of its one parameter, or
        a dictionary by the names of several.

        The future raises `SubOrchestrationFailed`, or `SubOrchestrationAlreadyExists` if `instance`
        is in use. The default id consists of this instance's id, the execution and the schedule
        event. Without `version`, the newest runs. Children that are still running when
        this execution ends are cancelled.
        """
        args, call = only_input(input), "ctx.schedule_sub_orchestration"
        return self._schedule_child(call, orchestration, args, {}, result_type, instance, version)

    def orchestration(
        self,
        orchestration: Callable[Concatenate[OrchestrationContext, P], Awaitable[object]],
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> Callable[P, str]:
        """An orchestration that runs on its own, to be called with its arguments.

        `ctx.orchestration(remind)(customer, days=3)` starts it, as `schedule_orchestration` does,
        and returns its instance id.
        """
        _require_function(orchestration, "orchestration")

        def schedule(*args: P.args, **kwargs: P.kwargs) -> str:
            return self._schedule_detached(
                "ctx.orchestration", orchestration, args, kwargs, instance, version
            )

        return schedule

    @overload
    def schedule_orchestration(
        self,
        orchestration: Callable[[OrchestrationContext, I], Awaitable[object]],
        input: I,
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> str: ...
    @overload
    def schedule_orchestration(
        self,
        orchestration: Callable[[OrchestrationContext], Awaitable[object]],
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> str: ...
    @overload
    def schedule_orchestration(
        self,
        orchestration: str,
        input: object = ...,
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> str: ...
    def schedule_orchestration(
        self,
        orchestration: Callable[..., object] | str,
        input: object = OMITTED,
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> str:
        """Start an orchestration that runs on its own; returns its instance id.

        Its input is passed as with `schedule_sub_orchestration`. If the id is in use, nothing starts:
        the runtime logs that and notifies observers.
        """
        args, call = only_input(input), "ctx.schedule_orchestration"
        return self._schedule_detached(call, orchestration, args, {}, instance, version)

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
        _require_function(orchestration, "continue_as", "continue_as_new")

        def end(*args: P.args, **kwargs: P.kwargs) -> NoReturn:
            self._commands.require_running("ctx.continue_as")
            check_optional_version(version)
            name, text, _ = read_orchestration_call(orchestration, args, kwargs)
            if name != self.name:
                raise InvalidInput(
                    f"ctx.continue_as was given orchestration {name!r} in {self.name!r}, which"
                    " goes on as itself; use ctx.orchestration to start another"
                )
            self._commands.continue_as_new(text, version)
            raise ExecutionEnded

        return end

    def continue_as_new(self, input: object = None, *, version: str | None = None) -> NoReturn:
        """End this execution and begin the next with a fresh history and this input.

        The call never returns, and nothing after it has an effect, cleanup included. Events that no
        wait has taken are carried over in order; timers, activities and children of this execution
        are cancelled. Without `version`, the newest version runs.

        `input` is what the orchestration takes: the value of its one parameter, or a dictionary
        by the names of several, which `continue_as` takes as arguments. Without `version`, it is checked against this orchestration's own
        parameters: raises `InvalidPayload` if it does not fit. The input of another version is
        not checked.
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

    def _schedule_activity(
        self,
        call: str,
        activity: Callable[..., object] | str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result_type: object,
        retry: RetryPolicy | None,
        tag: str | None,
        cancellation: Cancellation,
    ) -> asyncio.Future[Any]:
        commands = self._commands
        commands.require_running(call)
        asked = read_activity_call(commands.catalog, activity, args, kwargs, result_type)
        if tag is not None:
            check_identifier(tag, "tag")
        if retry is not None:
            require(retry, RetryPolicy, "retry", "pass RetryPolicy(max_attempts=…)")
        if cancellation not in ("drop", "wait"):
            raise InvalidInput(
                f'cancellation {shown(cancellation)} is unknown; pass "drop" or "wait"'
            )
        name, text, result = asked
        patient = cancellation == "wait"
        return commands.schedule_activity(name, text, result, tag=tag, retry=retry, patient=patient)

    def _schedule_child(
        self,
        call: str,
        orchestration: Callable[..., object] | str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result_type: object,
        instance: str | None,
        version: str | None,
    ) -> asyncio.Future[Any]:
        self._commands.require_running(call)
        name, text, result = read_orchestration_call(orchestration, args, kwargs, result_type)
        check_optional_id(instance)
        check_optional_version(version)
        return self._commands.schedule_child(name, version, text, instance, result)

    def _schedule_detached(
        self,
        call: str,
        orchestration: Callable[..., object] | str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        instance: str | None,
        version: str | None,
    ) -> str:
        self._commands.require_running(call)
        name, text, _ = read_orchestration_call(orchestration, args, kwargs)
        check_optional_id(instance)
        check_optional_version(version)
        return self._commands.schedule_detached(name, version, text, instance)


def _require_function(function: object, method: str, with_name: str | None = None) -> None:
    if isinstance(function, str):
        raise InvalidInput(
            f"ctx.{method}({function!r}) was given a name, whose parameters are not known; pass"
            f" the function, or use ctx.{with_name or f'schedule_{method}'}"
        )


def orchestration_context() -> OrchestrationContext | None:
    """The context of the orchestration whose code calls this, or None outside an orchestration.

    A library that is used inside and outside of orchestrations learns from it whether to schedule an
    activity or to do the work itself. Activities, threads and the host's own code are outside.
    """
    loop = events._get_running_loop()
    context = loop.context if isinstance(loop, OrchestrationLoop) else None
    return context if isinstance(context, OrchestrationContext) else None
