"""What a start asks for: a function or a name, and an input, made into a new instance.

Everything is checked here, before anything is stored. A function stands for its registered name,
its input is a value and is encoded by its annotation; with a name, the plain methods take JSON
text and the `_typed` ones a value.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Never, TypeAlias, TypeVar, cast

from perdure.authoring.references import (
    OrchestrationReference,
    activity_reference,
    orchestration_reference,
)
from perdure.errors import InvalidPayload, NotRegistered
from perdure.model.identifiers import check_identifier
from perdure.model.payload import NULL, check_text, encode
from perdure.model.shown import shown
from perdure.model.wire import StartData, encode_start
from perdure.records.instances import Message, MessageKind, NewInstance

I = TypeVar("I")  # noqa: E741 # the input
R = TypeVar("R")

WithInput: TypeAlias = Callable[[Never, I], Awaitable[R]]
"""An orchestration that takes an input; `Never` stands for the context, which is the runtime's."""

WithoutInput: TypeAlias = Callable[[Never], Awaitable[R]]
"""An orchestration that takes none."""

Orchestration: TypeAlias = str | Callable[..., Awaitable[object]]
"""A registered name, or the registered function itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A checked request to run an orchestration."""

    name: str
    input: str
    """JSON text."""
    result_type: object
    """What the result is decoded as; `Any` where only the name is known."""

    def as_instance(self, instance: str, version: str | None) -> NewInstance:
        """The record of a new instance, under an incarnation that nobody has had."""
        check_identifier(instance, "instance id")
        incarnation = uuid.uuid4().hex
        start = Message(
            id=f"start:{incarnation}",
            instance=instance,
            kind=MessageKind.START,
            incarnation=incarnation,
            data=encode_start(StartData(input=self.input)),
        )
        return NewInstance(
            instance=instance,
            incarnation=incarnation,
            name=self.name,
            version=version,
            start=start,
        )


def start_of_text(orchestration: Orchestration, input: object) -> Start:
    """What a plain start asks for: JSON text with a name, a value with a function."""
    if not isinstance(orchestration, str):
        return _start_of_function(orchestration, input)
    check_identifier(orchestration, "orchestration name")
    text = check_text(
        cast("str | None", input),
        what=f"input of {orchestration!r}",
        instead="use start_orchestration_typed for values",
    )
    return Start(name=orchestration, input=text, result_type=Any)


def start_of_value(orchestration: Orchestration, input: object) -> Start:
    """What a typed start asks for: a value, with a name or with a function."""
    if not isinstance(orchestration, str):
        return _start_of_function(orchestration, input)
    check_identifier(orchestration, "orchestration name")
    text = encode(input, what=f"input of {orchestration!r}")
    return Start(name=orchestration, input=text, result_type=Any)


def _start_of_function(function: object, input: object) -> Start:
    reference = orchestration_reference(function)
    if reference is None:
        raise _not_an_orchestration(function)
    return Start(
        name=reference.name,
        input=_encode_input(reference, input),
        result_type=reference.result_type,
    )


def _encode_input(reference: OrchestrationReference, input: object) -> str:
    what = f"input of {reference.name!r}"
    if reference.takes_input:
        return encode(input, reference.input_type, what=what)
    if input is not None:
        raise InvalidPayload(
            f"{what} of type {type(input).__name__!r} was given, but it takes none; leave it out"
        )
    return NULL


def _not_an_orchestration(function: object) -> NotRegistered:
    activity = activity_reference(function)
    if activity is not None:
        return NotRegistered(
            f"{activity.name!r} is registered as an activity, not as an orchestration; schedule it"
            " in an orchestration, and start that"
        )
    return NotRegistered(
        f"{shown(function)} is not registered as an orchestration; decorate it with"
        " @registry.orchestration, or pass its registered name"
    )
