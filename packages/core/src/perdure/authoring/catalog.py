"""What a runtime serves: the functions of all its registries, found by the names in a storage.

A name in a storage may be an alias of the present one, and names no version where the newest counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from perdure.authoring.functions import (
    ActivityDefinition,
    ActivityReference,
    OrchestrationDefinition,
)
from perdure.authoring.registry import Registry
from perdure.model.versions import version_key


class Catalog:
    """What all the registries of a runtime have, as they had it when the runtime was made."""

    def __init__(self, registries: Collection[Registry]) -> None:
        union = Registry()
        for registry in registries:
            union.include(registry)
        self._activities = {definition.name: definition for definition in union.activities()}
        self.activities: Mapping[str, ActivityDefinition] = self._activities
        """By present names; `activity` takes aliases too."""
        self.activity_aliases = union.aliases_of_activities()
        """The present name of each alias."""
        self.orchestration_aliases = union.aliases_of_orchestrations()
        """The present name of each alias."""
        versions: dict[str, dict[str, OrchestrationDefinition]] = {}
        for definition in union.orchestrations():
            for name in (definition.name, *definition.aliases):
                versions.setdefault(name, {})[definition.version] = definition
        self._orchestrations = versions
        self._newest = {
            name: max(known.values(), key=lambda definition: version_key(definition.version))
            for name, known in versions.items()
        }

    def replace_activity(self, definition: ActivityDefinition) -> None:
        """Let another function run a registered activity from now on, as tests do."""
        self._activities[definition.name] = definition

    def replace_orchestration(self, definition: OrchestrationDefinition) -> None:
        """Let another function run a registered version from now on, as tests do."""
        for name in (definition.name, *definition.aliases):
            self._orchestrations[name][definition.version] = definition
            if self._newest[name].version == definition.version:
                self._newest[name] = definition

    def activity(self, name: str) -> ActivityDefinition | None:
        """The activity of this name or alias; None where it is not registered."""
        return self.activities.get(self.activity_aliases.get(name, name))

    def served_activities(self) -> Iterator[tuple[str, ActivityDefinition]]:
        """Every activity under each of its names, aliases included."""
        yield from self.activities.items()
        for alias, name in self.activity_aliases.items():
            yield alias, self.activities[name]

    def orchestration(self, name: str, version: str | None) -> OrchestrationDefinition | None:
        """The version asked for, or the newest; None where it is not registered."""
        if version is None:
            return self._newest.get(name)
        return self._orchestrations.get(name, {}).get(version)

    def orchestrations(self) -> Iterator[OrchestrationDefinition]:
        """All orchestrations, in all versions."""
        for name, known in self._orchestrations.items():
            if name not in self.orchestration_aliases:
                yield from known.values()

    def versions(self) -> Mapping[str, frozenset[str]]:
        """The registered versions of every name and alias."""
        return {name: frozenset(known) for name, known in self._orchestrations.items()}

    def activity_of(self, function: Callable[..., object]) -> ActivityReference | None:
        """The reference of a registered callable, bound methods included."""
        for definition in self.activities.values():
            if definition.function == function:
                return definition.reference
        return None
