"""Reads what compiled code loads, and whether it calls it: the code is read, not run.

The reader follows every chain of names (`time.time`, `shop.charge`) as far as it is known without
running anything: through globals, closures, imports, locals that were assigned once, modules and
classes. It follows neither the values of other variables nor the functions that the code calls.

Reading has no side effects. The reader imports only modules that the caller names, and reads
attributes only of modules and of classes, since a proxy may run anything.
"""

from __future__ import annotations

import builtins
import dis
import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import cast

from perdure.model.record import record

_TRANSPARENT = frozenset({"PRECALL", "CACHE", "EXTENDED_ARG", "NOP", "COPY_FREE_VARS"})
_NULL_COMES_FIRST = sys.version_info < (3, 13)
"""Whether the mark of a call stands before what is called, or behind it."""
_MARKS_OF_A_CALL = ("NULL + ", "NULL|self + ")


@record(kw_only=False)
class _Instruction:
    """What the reader needs of one instruction."""

    operation: str
    argument: object
    line: int
    is_call: bool
    """Whether the instruction itself says that what it loads is called."""


@functools.lru_cache(maxsize=1024)
def _instructions(code: CodeType) -> tuple[_Instruction, ...]:
    """The instructions of a code object, kept: a test suite makes a runtime for every test."""
    found: list[_Instruction] = []
    line = code.co_firstlineno
    for each in dis.get_instructions(code):
        if each.positions is not None and each.positions.lineno is not None:
            line = each.positions.lineno
        if each.opname not in _TRANSPARENT:
            is_call = each.opname == "LOAD_METHOD" or _is_marked(each.argrepr)
            found.append(_Instruction(each.opname, each.argval, line, is_call))
    return tuple(found)


@dataclass(slots=True, eq=False, repr=False)
class Load:
    """One value that code loads, alone or as an attribute of another."""

    value: object
    """What it is; None where that is not known."""
    source: object
    """What it is an attribute of; None where that is not known, or where it is none."""
    attribute: str | None
    file: str
    line: int
    called: bool = False
    """Whether the code calls it; else it passes it on, compares it, …"""


def loads_of(function: Callable[..., object], modules: Collection[str] = ()) -> Iterator[Load]:
    """What the function's code loads, and what is nested in it; of wrappers, also what is inside.

    `modules` are those that may be imported, and whose parts may be asked for.
    """
    for plain in _functions(function):
        outer = dict(zip(plain.__code__.co_freevars, _cells(plain), strict=True))
        yield from _Reader(plain.__globals__, modules).loads(plain.__code__, outer)


def _functions(function: object) -> Iterator[FunctionType]:
    """The plain functions that stand behind a callable."""
    for _ in range(20):
        if isinstance(function, functools.partial):
            function = cast("functools.partial[object]", function).func
            continue
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


class _Reader:
    """Follows chains of loads through the instructions; any other instruction ends a chain."""

    def __init__(self, module: Mapping[str, object], modules: Collection[str]) -> None:
        self._module = module
        self._modules = modules

    def loads(self, code: CodeType, outer: Mapping[str, object]) -> Iterator[Load]:
        """What a code object loads, and what those do that are nested in it.

        `outer` has what is known of the variables of the functions around it.
        """
        # A parameter or a local hides what has its name outside.
        hidden = {*code.co_varnames, *code.co_cellvars}
        local = {name: value for name, value in outer.items() if name not in hidden}
        last: Load | None = None
        top: object = None
        imported: object = None
        to_be_called = False
        for instruction in _instructions(code):
            operation, argument = instruction.operation, instruction.argument
            line = instruction.line
            if operation == "PUSH_NULL" and not _NULL_COMES_FIRST:
                if last is not None:
                    last.called = True
                continue
            continued = operation in ("LOAD_ATTR", "LOAD_METHOD")
            if last is not None:
                # Where an attribute is taken of it, the mark is that attribute's.
                marked = last.called or to_be_called
                last.called, to_be_called = marked and not continued, marked and continued
                yield last
                last = None
            if operation == "PUSH_NULL":
                to_be_called = True
            elif operation == "IMPORT_NAME":
                name = cast("str", argument)
                imported, top = self._import(name), self._import(name.partition(".")[0])
            elif operation == "IMPORT_FROM":
                top = self._attribute(imported, cast("str", argument))
            elif continued:
                name = cast("str", argument)
                source, top = top, self._attribute(top, name)
                last = Load(top, source, name, code.co_filename, line)
            elif operation.startswith("STORE_"):
                top = _store(operation, argument, top, local)
            else:
                top = self._load(operation, argument, local)
                last = Load(top, None, None, code.co_filename, line)
            if last is not None:
                last.called = instruction.is_call
        if last is not None:
            yield last
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from self.loads(constant, local)

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

    def _import(self, name: str) -> object:
        """A module that is loaded, or that may be."""
        if name in self._modules and name not in sys.modules:
            try:
                return importlib.import_module(name)
            except ImportError:
                return None
        return sys.modules.get(name)

    def _attribute(self, source: object, name: str) -> object:
        kind = type(source)
        if issubclass(kind, ModuleType):
            module = cast("ModuleType", source)
            found = vars(module).get(name)
            if found is None and module.__name__ in self._modules:
                # Some load their parts when they are asked for.
                found = getattr(module, name, None)
            return found
        if issubclass(kind, type):
            owner = cast("type", source)
            if owner.__module__ in self._modules:
                return getattr(owner, name, None)
            found = inspect.getattr_static(owner, name, None)
            return found.__func__ if isinstance(found, staticmethod) else found
        return None


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


def _is_marked(shown: str) -> bool:
    """Whether the instruction itself says that what it loads is called."""
    return shown.startswith(_MARKS_OF_A_CALL) or shown.endswith((" + NULL", " + NULL|self"))
