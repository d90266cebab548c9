"""Refuses orchestrations whose code calls an activity as a plain function.

Such a call would do the work in the orchestration itself, again at every replay. It is found
before anything runs, when a runtime knows all that is registered: the code of an orchestration
alone does not say what is an activity.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType

from perdure.authoring.loads import Load, loads_of
from perdure.authoring.registry import ActivityDefinition, Catalog, OrchestrationDefinition
from perdure.errors import NondeterministicCode


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
            more = ", …" if activity.reference.takes_input else ""
            write = f"write `await ctx.schedule_activity({named}{more})`"
            yield f"{activity.name!r} at {load.file}:{load.line}, {write}"


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
            # A method is made anew whenever it is asked for, and is not asked for here.
            return self._methods.get((id(load.source), load.attribute))
        return None
