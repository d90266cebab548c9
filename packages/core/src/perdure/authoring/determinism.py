"""Finds in an orchestration's code what would differ in replay, before it is ever run.

The compiled code is read, not run and not patched: every chain of names that leads to a known
function of the standard library (`time.time`, `datetime.now`, `random.random`, …) is reported
with its line and what to use instead. What a value holds at run time is not followed, nor are
functions that the code calls; the history check finds at run time what slips through here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import cast

from perdure.authoring.forbidden_uses import FORBIDDEN_MODULES, FORBIDDEN_NAMES, HARMLESS
from perdure.authoring.loads import loads_of

_RULED_MODULES = {
    *FORBIDDEN_MODULES,
    *(name.split(".", maxsplit=1)[0] for name in (*FORBIDDEN_NAMES, *FORBIDDEN_MODULES)),
} - {"builtins"}
_NAMED = (type, FunctionType, BuiltinFunctionType, MethodType)
_PUBLIC_MODULES = {
    "posix": "os",
    "nt": "os",
    "_io": "io",
    "_random": "random",
    "_socket": "socket",
    "_sqlite3": "sqlite3",
    "_thread": "threading",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One use of something that would differ in replay."""

    name: str
    """The full name of what is used, such as `time.time`."""
    file: str
    line: int
    instead: str


def find_nondeterminism(
    function: Callable[..., object], allow: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Every use in the function's code, and in what is nested in it, that is not allowed.

    `allow` has full names such as `time.time`, or of modules such as `random`. Of a decorated
    function the function inside is read too.
    """
    found: dict[tuple[str, int], Finding] = {}
    for load in loads_of(function, _RULED_MODULES):
        if load.attribute is None:
            name = _name_of(load.value)
        else:
            name = _full_name(load.source, load.attribute, load.value)
        instead = None if name is None else _instead(name)
        if name is None or instead is None:
            continue
        if not any(f"{name}.".startswith(f"{allowed}.") for allowed in allow):
            finding = Finding(name=name, file=load.file, line=load.line, instead=instead)
            found[name, load.line] = finding
    return tuple(found.values())


def _full_name(source: object, name: str, found: object) -> str | None:
    """The name under which the rules know an attribute."""
    kind = type(source)
    if issubclass(kind, ModuleType):
        module = cast("ModuleType", source).__name__
        if f"{_public(module)}.{name}" in FORBIDDEN_NAMES:
            return f"{_public(module)}.{name}"
        return _name_of(found)
    if issubclass(kind, type) and cast("type", source).__module__ in _RULED_MODULES:
        owner = cast("type", source)
        return f"{_public(owner.__module__)}.{owner.__qualname__}.{name}"
    return None


def _name_of(found: object) -> str | None:
    """The name under which the rules know an object, wherever it was imported to."""
    kind = type(found)
    if kind.__module__ == "os" and kind.__qualname__ == "_Environ":
        return "os.environ"
    if not issubclass(kind, _NAMED) or (issubclass(kind, type) and _is_error(found)):
        return None
    owner = getattr(found, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):
        return _method_name(owner, getattr(found, "__name__", ""))
    module, name = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    return f"{_public(module)}.{name}"


def _method_name(owner: object, name: str) -> str:
    kind = cast("type", owner) if issubclass(type(owner), type) else type(owner)
    if kind.__module__ == "random":
        # `random.random` is a method of a hidden instance.
        return f"random.{name}"
    return f"{_public(kind.__module__)}.{kind.__qualname__}.{name}"


def _is_error(found: object) -> bool:
    return issubclass(cast("type", found), BaseException)


def _public(module: str) -> str:
    if module.startswith("asyncio."):
        return "asyncio"
    return _PUBLIC_MODULES.get(module, module)


def _instead(name: str) -> str | None:
    if name in HARMLESS or name.startswith("random.Random."):
        return None
    if name in FORBIDDEN_NAMES:
        return FORBIDDEN_NAMES[name]
    for module, instead in FORBIDDEN_MODULES.items():
        if name.startswith(f"{module}."):
            return instead
    return None
