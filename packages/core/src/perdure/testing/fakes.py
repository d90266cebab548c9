"""Fakes: stand-ins for activities and children, checked against their signatures when they are made.

A fake of an activity is called as the activity is. A fake of a child is an orchestration of its
own, which a rebuild calls again; the fake records each execution once, and gives it the outcome
that it has been given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import (
    ActivityDefinition,
    OrchestrationDefinition,
    activity_reference,
    orchestration_reference,
)
from perdure.errors import InvalidInput, NotRegistered
from perdure.model.application_errors import NonRetryable
from perdure.model.payload import encode
from perdure.model.record import record
from perdure.model.shown import shown
from perdure.replay.context import OrchestrationContext
from perdure.runtime.activity_context import activity_context

Definition: TypeAlias = ActivityDefinition | OrchestrationDefinition
Call: TypeAlias = tuple[str, object]
"""What is the same where a crash repeats a call: an attempt of an activity, or an execution."""

UNSET: Any = object()

Fakes: TypeAlias = Mapping[Callable[..., object], Callable[..., object] | Sequence[object]]
"""Activities and children, each with what `calls=` of `Stage.fake` takes: a function, or outcomes
in turn."""


@record(kw_only=False)
class FakeCall:
    """One call of a fake: the arguments as the activity or the child would have got them."""

    args: tuple[object, ...]
    kwargs: Mapping[str, object]


class Outcome:
    """What a call of a fake comes to."""

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def of(self, call: Call, *args: object, **kwargs: object) -> object:
        """Its result, which may have to be awaited; raises what the call raises."""
        del call
        return self._function(*args, **kwargs)


@dataclass(eq=False)
class Fake:
    """Stands for an activity or a child; `Stage.fake` makes it. It records its calls."""

    name: str
    """The name of the activity, or of the orchestration."""
    calls: list[FakeCall] = field(default_factory=list[FakeCall])
    """The calls so far, in order: each attempt of an activity, and each execution of a child."""
    _outcome: Outcome = field(default=UNSET, repr=False)
    _executions: set[Call] = field(default_factory=set[Call], repr=False)

    @property
    def inputs(self) -> list[Any]:
        """The decoded input of each call: the value of a single parameter; a dictionary by names
        if there are several; None if there is none."""
        return [_input_of(call) for call in self.calls]

    async def __call__(self, *args: object, **kwargs: object) -> object:
        """Record a call of the activity, and give its outcome."""
        context = activity_context()
        self.calls.append(FakeCall(args, kwargs))
        return await self._give((context.idempotency_key, context.attempt), args, kwargs)

    async def run_child(self, ctx: OrchestrationContext, *args: object, **kwargs: object) -> object:
        """Record an execution of the child once, and give its outcome."""
        execution = (ctx.instance, ctx.uuid4())
        if execution not in self._executions:
            self._executions.add(execution)
            self.calls.append(FakeCall(args, kwargs))
        return await self._give(execution, args, kwargs)

    async def _give(
        self, call: Call, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        outcome = self._outcome.of(call, *args, **kwargs)
        return await outcome if inspect.isawaitable(outcome) else outcome


def faked_definition(catalog: Catalog, function: Callable[..., object]) -> Definition:
    """The definition of what is to be faked; raises `NotRegistered`."""
    definition = _orchestration(catalog, function) or _activity(catalog, function)
    if definition is None:
        raise NotRegistered(
            f"{shown(function)} is not registered; pass the function of an activity or of a child,"
            " and the registry that has it"
        )
    return definition


def _orchestration(
    catalog: Catalog, function: Callable[..., object]
) -> OrchestrationDefinition | None:
    reference = orchestration_reference(function)
    return reference and catalog.orchestration(reference.name, reference.version)


def _activity(catalog: Catalog, function: Callable[..., object]) -> ActivityDefinition | None:
    reference = activity_reference(function) or catalog.activity_of(function)
    return reference and catalog.activities.get(reference.name)


def make_fake(definition: Definition, *, returns: object, raises: object, calls: object) -> Fake:
    """A fake with one of these outcomes; raises `InvalidInput` if it does not fit the signature."""
    kind = "activity" if isinstance(definition, ActivityDefinition) else "orchestration"
    what = f"fake of {kind} {definition.name!r}"
    given = [each for each in (returns, raises, calls) if each is not UNSET]
    if len(given) != 1:
        raise InvalidInput(
            f"the {what} has {len(given)} outcomes; pass one of returns=, raises=, calls="
        )
    if raises is not UNSET:
        error = _checked_error(raises, what)

        def outcome(*_: object, **__: object) -> object:
            raise error.with_traceback(None)
    elif returns is not UNSET:
        _check_result(returns, definition, what)

        def outcome(*_: object, **__: object) -> object:
            return returns
    elif callable(calls):
        outcome = _checked_function(calls, definition, what)
    else:
        in_turn = _InTurn(_checked_outcomes(calls, definition, what), what)
        return Fake(definition.name, _outcome=in_turn)
    return Fake(definition.name, _outcome=Outcome(outcome))


def refusing_fake(definition: ActivityDefinition, refused: Callable[[str], None]) -> Fake:
    """A fake for an activity that must not run for real."""

    def outcome(*_: object, **__: object) -> object:
        refused(definition.name)
        raise NonRetryable(
            f"activity {definition.name!r} is not faked, and this stage runs no real one;"
            f" pass it to stage.fake"
        )

    return Fake(definition.name, _outcome=Outcome(outcome))


def fake_definition(definition: Definition, fake: Fake) -> Definition:
    """The definition with the fake in the place of its function."""
    if isinstance(definition, OrchestrationDefinition):
        return replace(definition, function=fake.run_child)
    # A fake writes nothing, so it needs no transaction.
    return replace(definition, function=fake, asynchronous=True, transactional=False)


def replace_in(catalog: Catalog, definition: Definition) -> None:
    """Let a catalog have this definition in the place of its own."""
    if isinstance(definition, OrchestrationDefinition):
        catalog.replace_orchestration(definition)
    else:
        catalog.replace_activity(definition)


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


def _check_result(value: object, definition: Definition, what: str) -> None:
    encode(value, definition.reference.result_type, what=f"result of the {what}")


def _checked_outcomes(outcomes: object, definition: Definition, what: str) -> list[object]:
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


class _InTurn(Outcome):
    """Outcomes in turn, one for each call; a call that a crash repeats has its own again."""

    def __init__(self, outcomes: list[object], what: str) -> None:
        self._left: Iterator[object] = iter(outcomes)
        self._given: dict[Call, object] = {}
        self._what = what

    def of(self, call: Call, *args: object, **kwargs: object) -> object:
        if call not in self._given:
            try:
                self._given[call] = next(self._left)
            except StopIteration:
                raise NonRetryable(
                    f"the {self._what} was called more often than it has outcomes, which are"
                    f" {len(self._given)}; add one for each attempt"
                ) from None
        outcome = self._given[call]
        if isinstance(outcome, BaseException):
            raise outcome.with_traceback(None)
        return outcome


def _checked_function(
    function: Callable[..., object], definition: Definition, what: str
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
            f" {', '.join(names) or 'of what it stands for: none'}"
        ) from None
    return function
