"""Former names of registered functions, under which stored histories and queued work have them."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping

from perdure.errors import DuplicateRegistration, InvalidInput
from perdure.model.identifiers import check_identifier
from perdure.model.settings import to_items


def checked_aliases(aliases: Collection[str], name: str, kind: str) -> tuple[str, ...]:
    """The aliases of a function that is registered under `name`; raises `InvalidInput`."""
    checked = tuple(
        check_identifier(alias, f"alias of {kind} {name!r}")
        for alias in to_items(aliases, "aliases", example='("charge_v0",)')
    )
    if name in checked:
        raise InvalidInput(f"alias {name!r} is the name of the {kind} itself; leave it out")
    return checked


class Aliases:
    """The aliases of one kind of function: each stands for one name, and is no name itself."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._names: dict[str, str] = {}

    @property
    def names(self) -> Mapping[str, str]:
        """The present name of each alias."""
        return self._names

    def add(
        self, name: str, aliases: Collection[str], registered: Container[str], *, replace: bool
    ) -> None:
        """Note a function's aliases; raises `DuplicateRegistration` if one is in use.

        `registered` has the names of all functions of the kind. With `replace` the later
        registration counts.
        """
        if replace:
            self._names.pop(name, None)
        elif name in self._names:
            self._refuse(name, self._names[name])
        for alias in aliases:
            known = self._names.get(alias, name)
            if not replace and known != name:
                self._refuse(alias, known)
            if not replace and alias in registered:
                raise DuplicateRegistration(
                    f"alias {alias!r} of {self._kind} {name!r} is the name of another one; a name"
                    " stands for one function"
                )
            self._names[alias] = name

    def _refuse(self, name: str, known: str) -> None:
        raise DuplicateRegistration(
            f"{self._kind} name {name!r} is an alias of {known!r} already; a name stands for one"
            " function"
        )
