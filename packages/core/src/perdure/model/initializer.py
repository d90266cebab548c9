"""The `__init__` of a record, which is made when the first record of the class is.

A generated function costs a tenth of a millisecond, and a process uses a part of the records that
it imports.
"""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from operator import attrgetter
from typing import Any

_BY_FACTORY: Any = object()
"""The default of a parameter whose field has a factory."""


class Initializer:
    """Stands in for `__init__` in a class of records until it is looked up for the first time."""

    def __init__(self, owner: type, *, frozen: bool) -> None:
        self._owner = owner
        self._frozen = frozen

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """The function that it makes and puts into its place, bound as any function is."""
        made = make_init(self._owner, frozen=self._frozen)
        type.__setattr__(self._owner, "__init__", made)
        return made.__get__(instance, owner)


def make_init(owner: Any, *, frozen: bool) -> Any:
    """An `__init__` that sets the fields of the class, then calls its `__post_init__`."""
    of_class: tuple[Field[Any], ...] = fields(owner)
    names: dict[str, Any] = {"by_factory": _BY_FACTORY, "set_field": object.__setattr__}
    parameters, body = ["self"], list[str]()
    for each in sorted(of_class, key=attrgetter("kw_only")):  # stable: positional fields first
        value = name = each.name
        if each.kw_only and "*" not in parameters:
            parameters.append("*")
        if each.default is not MISSING:
            names[f"default_{name}"] = each.default
            parameters.append(f"{name}=default_{name}")
        elif each.default_factory is not MISSING:
            names[f"make_{name}"] = each.default_factory
            parameters.append(f"{name}=by_factory")
            value = f"make_{name}() if {name} is by_factory else {name}"
        else:
            parameters.append(name)
        body.append(f"set_field(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(owner, "__post_init__"):
        body.append("self.__post_init__()")
    source = f"def __init__({', '.join(parameters)}):\n " + "\n ".join(body or ["pass"])
    exec(source, names)  # noqa: S102 # made of the names of fields alone
    made = names["__init__"]
    made.__annotations__ = {each.name: each.type for each in of_class} | {"return": None}
    made.__qualname__ = f"{owner.__qualname__}.__init__"
    made.__module__ = owner.__module__
    return made
