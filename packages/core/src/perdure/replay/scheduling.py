"""The part of the context that schedules activities and other orchestrations.

Every call can be made in two ways. `schedule_…` takes a function or a registered name, and one
input. The others take a function and return what is called with the function's own arguments, so
that a type checker knows them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from perdure.authoring.functions import ContextMarker
from perdure.authoring.retry import RetryPolicy
from perdure.errors import InvalidInput
from perdure.model.durations import to_duration
from perdure.model.identifiers import check_identifier
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

if TYPE_CHECKING:
    from typing_extensions import TypeForm

I = TypeVar("I")  # noqa: E741 # the input
P = ParamSpec("P")
R = TypeVar("R")

Cancellation: TypeAlias = Literal["drop", "wait"]
"""What a cancellation does to an activity that is under way."""


class SchedulingContext(ContextMarker):
    """The scheduling half of the context."""

    __slots__ = ("_commands",)

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    @overload
    def activity(
        self,
        activity: Callable[P, Awaitable[R]],
        *,
        retry: RetryPolicy | None = ...,
        tag: str | None = ...,
        cancellation: Cancellation = "drop",
        start_timeout: timedelta | float | None = None,
    ) -> Callable[P, asyncio.Future[R]]: ...
    @overload
    def activity(
        self,
        activity: Callable[P, R],
        *,
        retry: RetryPolicy | None = ...,
        tag: str | None = ...,
        cancellation: Cancellation = "drop",
        start_timeout: timedelta | float | None = None,
    ) -> Callable[P, asyncio.Future[R]]: ...
    def activity(
        self,
        activity: Callable[..., object],
        *,
        retry: object = OMITTED,
        tag: object = OMITTED,
        cancellation: Cancellation = "drop",
        start_timeout: timedelta | float | None = None,
    ) -> Callable[..., asyncio.Future[Any]]:
        """The activity, to be called with its own arguments: `ctx.activity(charge)(order, cents=500)`.

        The call schedules it, as `schedule_activity` does, and returns the future of its result.
        A type checker sees the parameters and the result of the function. An argument that is
        left out takes its default in the activity; it is not stored.
        """
        require_function(activity, "activity")

        def schedule(*args: object, **kwargs: object) -> asyncio.Future[Any]:
            return self._schedule_activity(
                "ctx.activity", activity, args, kwargs, Any, retry, tag, cancellation, start_timeout
            )

        return schedule

    @overload
    def schedule_activity(
        self,
        activity: Callable[[I], Awaitable[R]],
        input: I,
        *,
        retry: RetryPolicy | None = ...,
        tag: str | None = ...,
        cancellation: Cancellation = "drop",
        start_timeout: timedelta | float | None = None,
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_activity(
        self,
        activity: Callable[[], Awaitable[R]],
        *,
        retry: RetryPolicy | None = ...,
        tag: str | None = ...,
        cancellation: Cancellation = "drop",
        start_timeout: timedelta | float | None = None,
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_activity(
        self,
        activity: Callable[[I], R],
        input: I,
        *,
        retry: RetryPolicy | None = ...,
        tag: str | None = ...,
        cancellation: Cancellation = "drop",
        start_timeout: timedelta | float | None = None,
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_activity(
        self,
        activity: Callable[[], R],
        *,
        retry: RetryPolicy | None = ...,
        tag: str | None = ...,
        cancellation: Cancellation = "drop",
        start_timeout: timedelta | float | None = None,
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_activity(
        self,
        activity: str,
        input: object = ...,
        *,
        result_type: TypeForm[R] = Any,
        retry: RetryPolicy | None = ...,
        tag: str | None = ...,
        cancellation: Cancellation = "drop",
        start_timeout: timedelta | float | None = None,
    ) -> asyncio.Future[R]: ...
    def schedule_activity(
        self,
        activity: Callable[..., object] | str,
        input: object = OMITTED,
        *,
        result_type: object = Any,
        retry: object = OMITTED,
        tag: object = OMITTED,
        cancellation: Cancellation = "drop",
        start_timeout: timedelta | float | None = None,
    ) -> asyncio.Future[Any]:
        """Run an activity, given as the function or by its registered name.

        With a function, `input` is its first argument; `ctx.activity` passes several. With a
        name, `input` is what the activity takes: the value of its one parameter, or a dictionary
        by the names of several; the result is decoded as `result_type`.

        The future raises `ActivityFailed`, or `ActivityTimeout` if a limit of the policy is over.
        `retry` and `tag` stand above those of the activity's registration. Without a policy, as
        with `retry=None`, there is one attempt. A tag routes it to runtimes that run the tag.

        `start_timeout`, a `timedelta` or seconds, limits the time until a worker begins it: the future
        then raises `ActivityTimeout`, no attempt follows, and the activity never runs. An activity that
        stays on one machine (`activity_context().worker_tag`) needs it, because the machine may be gone.
        It costs a timer and a message.

        `cancellation` says what a cancellation of the future, or of the task that awaits it, means
        for work that is under way. With `"drop"` the result is discarded. With `"wait"` the activity
        is asked to end (`cancel_requested`), no attempt follows the one under way, and the await
        continues until its outcome arrives; then `CancelledError` is raised, and the future holds
        the outcome, which you can await again.

        Raises `InvalidPayload` if the input does not fit the activity's parameters.
        """
        call = "ctx.schedule_activity"
        args: tuple[object, ...] = () if input is OMITTED else (input,)
        return self._schedule_activity(
            call, activity, args, {}, result_type, retry, tag, cancellation, start_timeout
        )

    def sub_orchestration(
        self,
        orchestration: Callable[Concatenate[Self, P], Awaitable[R]],
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> Callable[P, asyncio.Future[R]]:
        """A child orchestration, to be called with its own arguments besides the context.

        `ctx.sub_orchestration(ship, instance="ship-1")(order, express=True)` starts it, as
        `schedule_sub_orchestration` does, and returns the future of its result. A type checker
        sees the parameters and the result of the function.
        """
        require_function(orchestration, "sub_orchestration")

        def schedule(*args: P.args, **kwargs: P.kwargs) -> asyncio.Future[R]:
            return self._schedule_child(
                "ctx.sub_orchestration", orchestration, args, kwargs, Any, instance, version
            )

        return schedule

    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: Callable[[Self, I], Awaitable[R]],
        input: I,
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> asyncio.Future[R]: ...
    @overload
    def schedule_sub_orchestration(
        self,
        orchestration: Callable[[Self], Awaitable[R]],
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
        orchestration: Callable[Concatenate[Self, P], Awaitable[object]],
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> Callable[P, str]:
        """An orchestration that runs on its own, to be called with its arguments.

        `ctx.orchestration(remind)(customer, days=3)` starts it, as `schedule_orchestration` does,
        and returns its instance id.
        """
        require_function(orchestration, "orchestration")

        def schedule(*args: P.args, **kwargs: P.kwargs) -> str:
            return self._schedule_detached(
                "ctx.orchestration", orchestration, args, kwargs, instance, version
            )

        return schedule

    @overload
    def schedule_orchestration(
        self,
        orchestration: Callable[[Self, I], Awaitable[object]],
        input: I,
        *,
        instance: str | None = None,
        version: str | None = None,
    ) -> str: ...
    @overload
    def schedule_orchestration(
        self,
        orchestration: Callable[[Self], Awaitable[object]],
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

    def _schedule_activity(
        self,
        call: str,
        activity: Callable[..., object] | str,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        result_type: object,
        retry: object,
        tag: object,
        cancellation: Cancellation,
        start_timeout: timedelta | float | None,
    ) -> asyncio.Future[Any]:
        commands = self._commands
        if not commands.loop.runs_here():
            commands.require_running(call)
        asked = read_activity_call(commands.catalog, activity, args, kwargs, result_type)
        chosen_tag = asked.tag if tag is OMITTED else _checked_tag(tag)
        policy = asked.retry if retry is OMITTED else _checked_policy(retry)
        if cancellation not in ("drop", "wait"):
            raise InvalidInput(
                f'cancellation {shown(cancellation)} is unknown; pass "drop" or "wait"'
            )
        return commands.schedule_activity(
            asked.name,
            asked.text,
            asked.result_type,
            tag=chosen_tag,
            retry=policy,
            patient=cancellation == "wait",
            start_timeout=None if start_timeout is None else _checked_limit(start_timeout),
        )

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
        asked = read_orchestration_call(orchestration, args, kwargs, result_type)
        check_optional_id(instance)
        check_optional_version(version)
        return self._commands.schedule_child(
            asked.name, version, asked.text, instance, asked.result_type
        )

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
        asked = read_orchestration_call(orchestration, args, kwargs)
        check_optional_id(instance)
        check_optional_version(version)
        return self._commands.schedule_detached(asked.name, version, asked.text, instance)


def _checked_tag(tag: object) -> str | None:
    return None if tag is None else check_identifier(cast("str", tag), "tag")


def _checked_limit(limit: timedelta | float) -> timedelta:
    return to_duration(limit, "start_timeout", positive=True)


def _checked_policy(retry: object) -> RetryPolicy | None:
    if retry is None:
        return None
    return require(retry, RetryPolicy, "retry", "pass RetryPolicy(max_attempts=…)")


def require_function(function: object, method: str, with_name: str | None = None) -> None:
    """Raise `InvalidInput` for a name: `method` takes a function, `with_name` takes names."""
    if isinstance(function, str):
        raise InvalidInput(
            f"ctx.{method}({function!r}) was given a name, whose parameters are not known; pass"
            f" the function, or use ctx.{with_name or f'schedule_{method}'}"
        )
