"""Fakes: stand-ins for activities, checked against their signatures when they are made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from perdure.authoring.functions import (
    ActivityDefinition,
    activity_reference,
    orchestration_reference,
)
from perdure.authoring.registry import Catalog
from perdure.errors import InvalidInput, NotRegistered
from perdure.model.application_errors import NonRetryable
from perdure.model.payload import encode
from perdure.model.shown import shown
from perdure.runtime.activity_context import activity_context

UNSET: Any = object()

Fakes: TypeAlias = Mapping[Callable[..., object], Callable[..., object] | Sequence[object]]
"""Activities, each with what `calls=` of `Stage.fake` takes: a function, or outcomes in turn."""


@dataclass(frozen=True, slots=True)
class FakeCall:
    """One call of a fake: the arguments as the activity would have got them."""

    args: tuple[object, ...]
    kwargs: Mapping[str, object]


@dataclass(eq=False)
class Fake:
    """Stands for an activity; `Stage.fake` makes it. It records its calls."""

    name: str
    """The name of the activity."""
    calls: list[FakeCall] = field(default_factory=list[FakeCall])
    """The calls so far, in order; each attempt of a retry is one."""
    _outcome: Callable[..., object] = field(default=UNSET, repr=False)

    @property
    def inputs(self) -> list[Any]:
        """The decoded input of each call: the value of a single parameter; a dictionary by names
        if there are several; None if there is none."""
        return [_input_of(call) for call in self.calls]

    async def __call__(self, *args: object, **kwargs: object) -> object:
        """Record the call, and give its outcome."""
        self.calls.append(FakeCall(args, kwargs))
        outcome = self._outcome(*args, **kwargs)
        return await outcome if inspect.isawaitable(outcome) else outcome


def faked_definition(catalog: Catalog, activity: Callable[..., object]) -> ActivityDefinition:
    """The definition of an activity that is to be faked; raises `NotRegistered`, `InvalidInput`."""
    if orchestration_reference(activity) is not None:
        raise InvalidInput(f"{shown(activity)} is an orchestration; fake the activities it uses")
    reference = activity_reference(activity) or catalog.activity_of(activity)
    definition = None if reference is None else catalog.activities.get(reference.name)
    if definition is None:
        raise NotRegistered(
            f"{shown(activity)} is not registered as an activity of this stage; pass the"
            " function that is registered"
        )
    return definition


def make_fake(
    definition: ActivityDefinition, *, returns: object, raises: object, calls: object
) -> Fake:
    """A fake with one of these outcomes; raises `InvalidInput` if it does not fit the activity."""
    what = f"fake of activity {definition.name!r}"
    given = [each for each in (returns, raises, calls) if each is not UNSET]
    if len(given) != 1:
        raise InvalidInput(
            f"the {what} has {len(given)} outcomes; pass one of returns=, raises=, calls="
        )
    if raises is not UNSET:
        error = _checked_error(raises, what)

        def outcome(*_: object, **__: object) -> object:
            raise error
    elif returns is not UNSET:
        _check_result(returns, definition, what)

        def outcome(*_: object, **__: object) -> object:
            return returns
    elif callable(calls):
        outcome = _checked_function(calls, definition, what)
    else:
        outcome = _in_turn(_checked_outcomes(calls, definition, what), what)
    return Fake(definition.name, _outcome=outcome)


def refusing_fake(definition: ActivityDefinition, refused: Callable[[str], None]) -> Fake:
    """A fake for an activity that must not run for real."""

    def outcome(*_: object, **__: object) -> object:
        refused(definition.name)
        raise NonRetryable(
            f"activity {definition.name!r} is not faked, and this stage runs no real one;"
            f" pass it to stage.fake"
        )

    return Fake(definition.name, _outcome=outcome)


def fake_definition(definition: ActivityDefinition, fake: Fake) -> ActivityDefinition:
    """The definition with the fake in the place of its function."""
    return replace(definition, function=fake, asynchronous=True)


def _input_of(call: FakeCall) -> object:
    return call.args[0] if call.args else dict(call.kwargs) or None


def _checked_error(raises: object, what: str) -> BaseException:
    error = raises
    if _is_error_class(raises):
        try:
            error = cast("type[BaseException]", raises)()
        except TypeError as problem:
            raise InvalidInput(
                f"the {what} cannot make its error: {problem}; pass an instance"
            ) from None
    if not isinstance(error, BaseException):
        raise InvalidInput(f"the {what} raises {shown(raises)}; pass an exception or its class")
    return error


def _is_error_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(cast("type[object]", value), BaseException)


def _check_result(value: object, definition: ActivityDefinition, what: str) -> None:
    encode(value, definition.reference.result_type, what=f"result of the {what}")


def _checked_outcomes(outcomes: object, definition: ActivityDefinition, what: str) -> list[object]:
    given = cast("Sequence[object]", outcomes) if isinstance(outcomes, list | tuple) else ()
    if not given:
        raise InvalidInput(
            f"the {what} calls {shown(cast('object', outcomes))}; pass a function, or a list of outcomes in turn"
        )
    checked = list(given)
    for place, each in enumerate(checked):
        if isinstance(each, BaseException) or _is_error_class(each):
            checked[place] = _checked_error(each, what)
        else:
            _check_result(each, definition, what)
    return checked


def _in_turn(outcomes: list[object], what: str) -> Callable[..., object]:
    left: Iterator[object] = iter(outcomes)
    given: dict[tuple[str, int], object] = {}

    def outcome(*_: object, **__: object) -> object:
        context = activity_context()
        attempt = (context.idempotency_key, context.attempt)
        if attempt not in given:
            try:
                given[attempt] = next(left)
            except StopIteration:
                raise NonRetryable(
                    f"the {what} was called more often than it has outcomes, which are"
                    f" {len(outcomes)}; add one for each attempt"
                ) from None
        each = given[attempt]
        if isinstance(each, BaseException):
            raise each
        return each

    return outcome


def _checked_function(
    function: Callable[..., object], definition: ActivityDefinition, what: str
) -> Callable[..., object]:
    names = definition.reference.parameters.names
    try:
        signature = inspect.signature(function)
        if len(names) == 1:
            signature.bind(None)
        else:
            signature.bind(**dict.fromkeys(names))
    except (TypeError, ValueError) as problem:
        raise InvalidInput(
            f"the {what} does not fit it: {problem}; take the parameters"
            f" {', '.join(names) or 'of the activity: none'}"
        ) from None
    return function
