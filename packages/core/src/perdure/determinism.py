"""Finds in an orchestration's code what would differ in replay, before it is ever run.

The compiled code is read, not run and not patched: every chain of names that leads to a known
function of the standard library (`time.time`, `datetime.now`, `random.random`, …) is reported
with its line and what to use instead. What a value holds at run time is not followed, nor are
functions that the code calls; the history check finds at run time what slips through here.

Reading must not act: no module is imported for it but those of the rules, and no attribute is
read but from modules and from the classes of the rules, for a proxy may run anything.
"""

from __future__ import annotations

import builtins
import dis
import importlib
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import cast

from perdure.forbidden_uses import FORBIDDEN_MODULES, FORBIDDEN_NAMES, HARMLESS

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
_TRANSPARENT = frozenset({"PRECALL", "PUSH_NULL", "CACHE", "EXTENDED_ARG", "NOP", "COPY_FREE_VARS"})


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
    for plain in _functions(function):
        outer = dict(zip(plain.__code__.co_freevars, _cells(plain), strict=True))
        for finding in _Scan(plain.__globals__).code(plain.__code__, outer):
            if not any(f"{finding.name}.".startswith(f"{name}.") for name in allow):
                found[finding.name, finding.line] = finding
    return tuple(found.values())


def _functions(function: object) -> Iterator[FunctionType]:
    """The plain functions that stand behind a callable."""
    for _ in range(20):
        if isinstance(function, MethodType):
            function = function.__func__
        elif not isinstance(function, FunctionType):
            function = vars(type(function)).get("__call__")
        if not isinstance(function, FunctionType):
            return
        yield function
        function = vars(function).get("__wrapped__")
        if function is None:
            return


def _cells(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            yield None


class _Scan:
    """Follows chains of loads through the instructions; any other instruction ends a chain."""

    def __init__(self, module: Mapping[str, object]) -> None:
        self._module = module

    def code(self, code: CodeType, outer: Mapping[str, object]) -> Iterator[Finding]:
        """The findings of a code object and of those nested in it.

        `outer` has what is known of the variables of the functions around it.
        """
        # A parameter or a local hides what has its name outside.
        hidden = {*code.co_varnames, *code.co_cellvars}
        local = {name: value for name, value in outer.items() if name not in hidden}
        current: object = None
        imported: object = None
        line = code.co_firstlineno
        for instruction in dis.get_instructions(code):
            if instruction.positions is not None and instruction.positions.lineno is not None:
                line = instruction.positions.lineno
            operation, argument = instruction.opname, instruction.argval
            name: str | None = None
            if operation in _TRANSPARENT:
                continue
            if operation == "IMPORT_NAME":
                imported, current = _module(argument), _module(argument.partition(".")[0])
            elif operation == "IMPORT_FROM":
                current = _attribute(imported, argument)
            elif operation in ("LOAD_ATTR", "LOAD_METHOD"):
                source, current = current, _attribute(current, argument)
                name = _full_name(source, argument, current)
            elif operation.startswith("STORE_"):
                current = _store(operation, argument, current, local)
            else:
                current = self._load(operation, argument, local)
                name = _name_of(current)
            if name is not None and (instead := _instead(name)) is not None:
                yield Finding(name=name, file=code.co_filename, line=line, instead=instead)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from self.code(constant, local)

    def _load(self, operation: str, argument: object, local: Mapping[str, object]) -> object:
        if not operation.startswith("LOAD_") or operation == "LOAD_CONST":
            return None
        if isinstance(argument, tuple):  # two locals at once: the second is on top
            argument = cast("tuple[object, ...]", argument)[-1]
        if not isinstance(argument, str):
            return None
        if "GLOBAL" in operation or operation == "LOAD_NAME":
            known = self._module.get(argument, vars(builtins).get(argument))
            return local.get(argument, known) if operation != "LOAD_GLOBAL" else known
        return local.get(argument)


def _store(
    operation: str, argument: object, value: object, local: dict[str, object]
) -> object | None:
    """Note what a local holds; returns what is on top then, where that is known."""
    if isinstance(argument, tuple):
        first, second = cast("tuple[str, str]", argument)
        local[first] = value
        if operation == "STORE_FAST_LOAD_FAST":
            return local.get(second)
        local[second] = None
    elif isinstance(argument, str) and operation in ("STORE_FAST", "STORE_DEREF", "STORE_NAME"):
        local[argument] = value
    return None


def _module(name: str) -> object:
    """A module that is loaded, or that the rules know of."""
    if name in _RULED_MODULES and name not in sys.modules:
        try:
            return importlib.import_module(name)
        except ImportError:
            return None
    return sys.modules.get(name)


def _attribute(source: object, name: str) -> object:
    kind = type(source)
    if issubclass(kind, ModuleType):
        module = cast("ModuleType", source)
        found = vars(module).get(name)
        if found is None and module.__name__ in _RULED_MODULES:
            # Some load their parts when they are asked for.
            found = getattr(module, name, None)
        return found
    if issubclass(kind, type) and cast("type", source).__module__ in _RULED_MODULES:
        return getattr(source, name, None)
    return None


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
