"""The fakes of a stage: which definitions its processes run in the place of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import ActivityDefinition, OrchestrationDefinition
from perdure.errors import NotRegistered, PerdureError
from perdure.testing.fakes import (
    Definition,
    Fake,
    fake_definition,
    faked_definition,
    make_fake,
    refusing_fake,
    replace_in,
)


class StageFakes:
    """What stands for activities and children, over all processes and their restarts."""

    def __init__(
        self,
        *,
        refuse_real: bool,
        wrap: Callable[[ActivityDefinition], ActivityDefinition] | None,
    ) -> None:
        """`wrap` is put around every activity, real or faked."""
        self._refuse_real = refuse_real
        self._wrap = wrap
        self._stand_ins: dict[tuple[str, str | None], Definition] = {}
        """By name and version; activities have no version."""
        self._refused: list[str] = []

    def deploy(self, catalog: Catalog) -> None:
        """Replace what is faked in code that a process is about to run."""
        for definition in catalog.activities.values():
            if (definition.name, None) in self._stand_ins:
                continue
            if self._refuse_real:
                fake = refusing_fake(definition, self._refused.append)
                self._keep(fake_definition(definition, fake))
            elif self._wrap is not None:
                self._keep(definition)
        for definition in self._stand_ins.values():
            _replace(catalog, definition)

    def make(
        self,
        catalogs: Sequence[Catalog],
        function: Callable[..., object],
        *,
        returns: object,
        raises: object,
        calls: object,
    ) -> Fake:
        """A fake that all processes, whose code is in the catalogs, use from now on."""
        definition = _find(catalogs, function)
        fake = make_fake(definition, returns=returns, raises=raises, calls=calls)
        kept = self._keep(fake_definition(definition, fake))
        for catalog in catalogs:
            _replace(catalog, kept)
        return fake

    def raise_if_refused(self) -> None:
        """Raise if a real activity was refused."""
        if self._refused:
            names = ", ".join(map(repr, dict.fromkeys(self._refused)))
            raise PerdureError(f"the test ran activities without a fake: {names}; fake them")

    def _keep(self, definition: Definition) -> Definition:
        if isinstance(definition, OrchestrationDefinition):
            self._stand_ins[definition.name, definition.version] = definition
            return definition
        wrapped = definition if self._wrap is None else self._wrap(definition)
        self._stand_ins[definition.name, None] = wrapped
        return wrapped


def _find(catalogs: Sequence[Catalog], function: Callable[..., object]) -> Definition:
    for catalog in catalogs[:-1]:
        try:
            return faked_definition(catalog, function)
        except NotRegistered:
            continue
    return faked_definition(catalogs[-1], function)


def _replace(catalog: Catalog, definition: Definition) -> None:
    if isinstance(definition, OrchestrationDefinition):
        known = catalog.orchestration(definition.name, definition.version)
    else:
        known = catalog.activities.get(definition.name)
    if known is not None:
        replace_in(catalog, definition)
