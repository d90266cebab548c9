"""The part of the context that concerns external events: waiting for them, taking and raising them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeAlias, TypeVar, cast

from perdure.errors import InvalidInput
from perdure.model.identifiers import check_identifier
from perdure.model.payload import check_annotation, encode
from perdure.model.shown import shown
from perdure.replay.progress_context import ProgressContext

if TYPE_CHECKING:
    from typing_extensions import TypeForm

R = TypeVar("R")
OnInvalid: TypeAlias = Literal["wait", "raise"]
"""What a wait does with an event whose data does not fit: keep waiting, or raise."""


class EventStream(Generic[R]):
    """The external events of one name, one after the other; it never ends by itself."""

    __slots__ = ("_context", "_name", "_on_invalid", "_result_type")

    def __init__(
        self, context: EventContext, name: str, result_type: object, on_invalid: OnInvalid
    ) -> None:
        self._context = context
        self._name = name
        self._result_type = result_type
        self._on_invalid: OnInvalid = on_invalid

    def __aiter__(self) -> Self:
        """The stream itself."""
        return self

    async def __anext__(self) -> R:
        """Wait for the next event."""
        wait = self._context.schedule_wait(
            self._name, cast("TypeForm[R]", self._result_type), on_invalid=self._on_invalid
        )
        return await wait


class EventContext(ProgressContext):
    """The external events of the instance."""

    __slots__ = ()

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
        name = _check_wait(name, result_type, on_invalid)
        return commands.schedule_wait(name, result_type, raises=on_invalid == "raise")

    def events(
        self, name: str, result_type: TypeForm[R] = Any, *, on_invalid: OnInvalid = "wait"
    ) -> EventStream[R]:
        """The external events of this name, for `async for`: each step waits for the next one.

        `async for approval in ctx.events("approval", Approval)` does what `schedule_wait` does, again
        and again. Events that come between two steps are kept. Leaving the loop leaves no wait behind.
        """
        self._commands.require_running("ctx.events")
        return EventStream(
            self, _check_wait(name, result_type, on_invalid), result_type, on_invalid
        )

    def poll_event(self, name: str, result_type: TypeForm[R] = Any) -> R | None:
        """Take the next external event of this name, if it is there; None if not.

        An event whose data does not fit `result_type` is consumed and reported, and the next one is
        taken. Each call is an event of the history, whatever it finds: to wait, use `schedule_wait`.
        """
        commands = self._commands
        commands.require_running("ctx.poll_event")
        name = _check_wait(name, result_type, "wait")
        return cast("R | None", commands.poll(name, result_type))

    def raise_event(self, instance: str, name: str, value: object = None) -> None:
        """Raise an external event to any instance, with this turn and exactly once.

        It is kept for an id that does not exist yet, and ignored by an instance that has ended.
        """
        commands = self._commands
        commands.require_running("ctx.raise_event")
        check_identifier(instance, "instance id")
        name = check_identifier(name, "event name")
        commands.send_event(instance, name, encode(value, what=f"data of event {name!r}"))


def _check_wait(name: str, result_type: object, on_invalid: OnInvalid) -> str:
    check_annotation(result_type, f"result_type of event {shown(name)}")
    if on_invalid not in ("wait", "raise"):
        raise InvalidInput(f'on_invalid {shown(on_invalid)} is unknown; pass "wait" or "raise"')
    return check_identifier(name, "event name")
