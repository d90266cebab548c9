"""What a runtime refuses to start with, found once it knows all that is registered.

Nothing is run. An orchestration whose code calls an activity as a plain function would do the
work itself, again at every replay; its own code does not say what is an activity. A type of which
no value can be stored would fail with the first value; it may name classes that are defined after
the function, so it is not asked at the registration.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType

from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import ActivityDefinition, OrchestrationDefinition
from perdure.authoring.loads import Load, loads_of
from perdure.errors import InvalidSignature, NondeterministicCode
from perdure.model.payload import type_name, why_unstorable


def refuse_unusable(catalog: Catalog) -> None:
    """Raise `NondeterministicCode` or `InvalidSignature` for what cannot work."""
    refuse_direct_calls(catalog)
    refuse_unstorable_types(catalog)


def refuse_unstorable_types(catalog: Catalog) -> None:
    """Raise `InvalidSignature` for an input or a result of which no value can be stored."""
    for kind, definitions in (
        ("activity", catalog.activities.values()),
        ("orchestration", catalog.orchestrations()),
    ):
        for definition in definitions:
            reference = definition.reference
            for name, annotation in reference.parameters.types.items():
                _refuse_unstorable(definition, kind, f"takes {name!r} as", annotation)
            _refuse_unstorable(definition, kind, "returns", reference.result_type)


def _refuse_unstorable(
    definition: ActivityDefinition | OrchestrationDefinition,
    kind: str,
    does: str,
    annotation: object,
) -> None:
    why = why_unstorable(annotation)
    if why is not None:
        raise InvalidSignature(
            f"{kind} {definition.name!r} at {definition.where} {does} {type_name(annotation)}:"
            f" {why}"
        )


def refuse_direct_calls(catalog: Catalog) -> None:
    """Raise `NondeterministicCode` where an orchestration's own code calls an activity."""
    known = _Known(catalog)
    for orchestration in catalog.orchestrations():
        calls = list(dict.fromkeys(_direct_calls(orchestration, known)))
        if calls:
            raise NondeterministicCode(
                f"orchestration {orchestration.name!r} calls activities directly, which runs them"
                f" in the orchestration itself, again at every replay: {'; '.join(calls)}; move"
                " what an orchestration may call into a function that is no activity"
            )


def _direct_calls(orchestration: OrchestrationDefinition, known: _Known) -> Iterator[str]:
    for load in loads_of(orchestration.function):
        activity = known.activity_of(load) if load.called else None
        if activity is not None:
            named = load.attribute or getattr(activity.function, "__name__", activity.name)
            taken = len(activity.reference.parameters.names)
            call = f"schedule_activity({named}{', …' if taken else ''})"
            instead = call if taken < 2 else f"activity({named})(…)"
            place = f"{activity.name!r} at {load.file}:{load.line}"
            yield f"{place}, write `await ctx.{instead}`"


class _Known:
    """The registered activities by what code may load of them."""

    def __init__(self, catalog: Catalog) -> None:
        self._functions: dict[int, ActivityDefinition] = {}
        self._methods: dict[tuple[int, str], ActivityDefinition] = {}
        for definition in catalog.activities.values():
            function = definition.function
            self._functions[id(function)] = definition
            if isinstance(function, MethodType):
                self._methods[id(function.__self__), function.__name__] = definition

    def activity_of(self, load: Load) -> ActivityDefinition | None:
        """The activity that is loaded, or None for anything else."""
        value = load.value
        if isinstance(value, MethodType):
            return self._methods.get((id(value.__self__), value.__name__))
        if value is not None:
            return self._functions.get(id(value))
        if load.source is not None and load.attribute is not None:
            # Asking for a method makes a new object each time, and reading must not ask.
            return self._methods.get((id(load.source), load.attribute))
        return None
