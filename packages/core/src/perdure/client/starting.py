"""From a function or a name, and an input, to the record of a new instance.

All arguments are checked here, before anything is stored. A function stands for its registered
name; its arguments are encoded by its annotations. With a name, the plain methods take JSON text and
the `_typed` ones a value.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Never, TypeAlias, TypeVar, cast

from perdure.authoring.functions import (
    OrchestrationReference,
    activity_reference,
    orchestration_reference,
)
from perdure.clock import Instant
from perdure.errors import InvalidInput, InvalidVersion, NotRegistered
from perdure.model.identifiers import check_identifier
from perdure.model.message_ids import start_id
from perdure.model.payload import check_text, encode
from perdure.model.record import record
from perdure.model.shown import shown
from perdure.model.versions import check_version, is_version
from perdure.model.wire import StartData, encode_start
from perdure.records.engines import engine_of_start
from perdure.records.instances import Message, MessageKind, NewInstance

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    R_object = TypeVarWithDefault("R_object", default=object)
    """The result type of an orchestration; a registered name does not tell it."""

I = TypeVar("I")  # noqa: E741 # the input
R = TypeVar("R")

WithInput: TypeAlias = Callable[[Never, I], Awaitable[R]]
"""An orchestration with an input; `Never` stands for the context, which the runtime passes."""

WithoutInput: TypeAlias = Callable[[Never], Awaitable[R]]
"""An orchestration without an input."""

Orchestration: TypeAlias = str | Callable[..., Awaitable[object]]
"""A registered name, or the registered function itself."""


@record
class Start:
    """A checked request to run an orchestration."""

    name: str
    input: str
    """JSON text."""
    result_type: object
    """The type of the result; `Any` if only the name is known."""

    def as_instance(
        self,
        instance: str,
        version: str | None,
        *,
        start_at: Instant | None = None,
        labels: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> NewInstance:
        """The record of a new instance, with a new incarnation."""
        data = StartData(input=self.input, start_at=start_at, headers=headers or {})
        return new_instance(instance, self.name, version, data, labels or {})


def new_instance(
    instance: str,
    name: str,
    version: str | None,
    data: StartData,
    labels: Mapping[str, str],
) -> NewInstance:
    """The record of a new instance, with a new incarnation."""
    check_identifier(instance, "instance id")
    incarnation = uuid.uuid4().hex
    return NewInstance(
        instance=instance,
        incarnation=incarnation,
        name=name,
        version=version,
        engine=engine_of_start(data),
        labels=labels,
        start=Message(
            id=start_id(incarnation),
            instance=instance,
            kind=MessageKind.START,
            incarnation=incarnation,
            data=encode_start(data),
        ),
    )


def start_of_text(orchestration: Orchestration, input: object) -> Start:
    """The start of a plain method: JSON text with a name, a value with a function."""
    if not isinstance(orchestration, str):
        return _start_of_input(orchestration, input)
    check_identifier(orchestration, "orchestration name")
    text = check_text(
        cast("str | None", input),
        what=f"input of {orchestration!r}",
        instead=(
            f"pass version={input!r} for a version"
            if is_version(input)
            else "use start_orchestration_typed for values"
        ),
    )
    return Start(name=orchestration, input=text, result_type=Any)


def start_of_value(orchestration: Orchestration, input: object) -> Start:
    """The start of a typed method: a value, with a name or a function."""
    if not isinstance(orchestration, str):
        return _start_of_input(orchestration, input)
    check_identifier(orchestration, "orchestration name")
    text = encode(input, what=f"input of {orchestration!r}")
    return Start(name=orchestration, input=text, result_type=Any)


def start_of_call(
    orchestration: object, args: tuple[object, ...], kwargs: Mapping[str, object]
) -> Start:
    """The start of a function with the arguments of a call."""
    if isinstance(orchestration, str):
        raise InvalidInput(
            f"start was given the name {orchestration!r}, whose parameters are not known; pass"
            " the function, or use start_orchestration"
        )
    reference = _reference(orchestration)
    return Start(
        name=reference.name,
        input=reference.parameters.encode(args, kwargs, f"orchestration {reference.name!r}"),
        result_type=reference.result_type,
    )


def check_start_version(version: str) -> str:
    """Return the version to run; raises `InvalidVersion`."""
    try:
        return check_version(version)
    except InvalidVersion as error:
        raise InvalidVersion(
            f"{error}; the order is instance, orchestration, version, input"
        ) from None


def result_type_of(orchestration: object) -> object:
    """The type of an orchestration's result; `Any` for a name, or without one."""
    if orchestration is None:
        return Any
    if isinstance(orchestration, str):
        check_identifier(orchestration, "orchestration name")
        return Any
    return _reference(orchestration).result_type


def _start_of_input(function: object, input: object) -> Start:
    optional = _reference(function).parameters.first_is_optional
    return start_of_call(function, () if input is None and optional else (input,), {})


def _reference(function: object) -> OrchestrationReference:
    reference = orchestration_reference(function)
    if reference is None:
        raise _not_an_orchestration(function)
    return reference


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
