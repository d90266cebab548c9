"""Finds in an orchestration's code what would differ in replay, before it is ever run.

The compiled code is read, not run and not patched: every chain of names that leads to a known
function of the standard library (`time.time`, `datetime.now`, `random.random`, …) is reported
with its line and what to use instead. What a value holds at run time is not followed, nor are
functions that the code calls; the history check finds at run time what slips through here.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from types import CodeType, FunctionType, ModuleType

_NOW = "ctx.now()"
_RANDOM = "ctx.random()"
_ACTIVITY = "an activity"

_INSTEAD: Mapping[str, str] = {
    "time.time": _NOW,
    "time.time_ns": _NOW,
    "time.monotonic": _NOW,
    "time.monotonic_ns": _NOW,
    "time.perf_counter": _NOW,
    "time.perf_counter_ns": _NOW,
    "time.process_time": _NOW,
    "time.localtime": _NOW,
    "time.gmtime": _NOW,
    "time.sleep": "await asyncio.sleep(…)",
    "datetime.datetime.now": _NOW,
    "datetime.datetime.utcnow": _NOW,
    "datetime.datetime.today": _NOW,
    "datetime.date.today": f"{_NOW}.date()",
    "uuid.uuid1": "ctx.uuid4()",
    "uuid.uuid4": "ctx.uuid4()",
    "uuid.getnode": _ACTIVITY,
    "os.urandom": _RANDOM,
    "os.getrandom": _RANDOM,
    "os.getpid": _ACTIVITY,
    "os.system": _ACTIVITY,
    "os.popen": _ACTIVITY,
    "os.fork": _ACTIVITY,
    "builtins.open": _ACTIVITY,
    "io.open": _ACTIVITY,
    "builtins.input": "ctx.schedule_wait(…)",
    "builtins.id": "a key of your own",
    "random.SystemRandom": _RANDOM,
    "asyncio.run": "await",
    "asyncio.to_thread": _ACTIVITY,
    "asyncio.open_connection": _ACTIVITY,
    "asyncio.start_server": _ACTIVITY,
    "asyncio.open_unix_connection": _ACTIVITY,
    "asyncio.start_unix_server": _ACTIVITY,
    "asyncio.create_subprocess_exec": _ACTIVITY,
    "asyncio.create_subprocess_shell": _ACTIVITY,
    "asyncio.run_coroutine_threadsafe": "asyncio.create_task(…)",
}
_WHOLE_MODULES: Mapping[str, str] = {
    "random": _RANDOM,
    "secrets": _RANDOM,
    "threading": _ACTIVITY,
    "subprocess": _ACTIVITY,
    "socket": _ACTIVITY,
    "multiprocessing": _ACTIVITY,
    "concurrent.futures": _ACTIVITY,
}
_HARMLESS = frozenset({"random.Random"})  # seeded by the caller


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
    """Every use in the function's code, and in what is nested in it, that is not allowed by name."""
    if not isinstance(function, FunctionType):
        return ()
    closure = dict(
        zip(function.__code__.co_freevars, _cells(function), strict=True)
        if function.__closure__
        else ()
    )
    known = {**vars_of_builtins(), **function.__globals__, **closure}
    found = {
        (finding.name, finding.line): finding
        for finding in _scan(function.__code__, known)
        if finding.name not in allow
    }
    return tuple(found.values())


def vars_of_builtins() -> Mapping[str, object]:
    """The names that code finds without importing them."""
    return vars(sys.modules["builtins"])


def _cells(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            yield None


def _scan(code: CodeType, known: Mapping[str, object]) -> Iterator[Finding]:
    """Follow chains of loads through the instructions; any other instruction ends a chain."""
    names = dict(known)
    # A parameter or a local hides a global of its name, unless it is itself an import.
    for local in code.co_varnames:
        names.pop(local, None)
    current: object = None
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        if instruction.positions is not None and instruction.positions.lineno is not None:
            line = instruction.positions.lineno
        operation, argument = instruction.opname, instruction.argval
        if operation == "IMPORT_NAME":
            current = _imported(str(argument), from_list=True)
        elif operation == "IMPORT_FROM":
            names[f"from {argument}"] = getattr(current, argument, None)
            source, current = current, getattr(current, argument, None)
            yield from _report(_full_name(source, argument, current), code, line)
        elif operation.startswith("STORE_FAST") and isinstance(argument, str):
            names[argument] = current
            current = None
        elif operation in ("LOAD_ATTR", "LOAD_METHOD"):
            source, current = current, _attribute(current, argument)
            yield from _report(_full_name(source, argument, current), code, line)
        elif operation.startswith("LOAD_") and isinstance(argument, str):
            current = names.get(argument)
            yield from _report(_name_of(current), code, line)
        elif operation not in ("PRECALL", "PUSH_NULL", "CACHE", "EXTENDED_ARG"):
            current = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _scan(constant, names)


def _imported(name: str, *, from_list: bool) -> object:
    del from_list
    return sys.modules.get(name) or __import__(name)


def _attribute(source: object, name: str) -> object:
    # Only modules and classes: reading an attribute of anything else could run user code.
    return getattr(source, name, None) if isinstance(source, ModuleType | type) else None


def _full_name(source: object, name: str, found: object) -> str | None:
    if isinstance(source, ModuleType):
        return _name_of(found) or f"{source.__name__}.{name}"
    if isinstance(source, type):
        return f"{source.__module__}.{source.__qualname__}.{name}"
    return None


def _name_of(found: object) -> str | None:
    """The name under which the tables above know an object, wherever it was imported to."""
    if found is None or isinstance(found, ModuleType):
        return None
    module = getattr(found, "__module__", None)
    owner = getattr(found, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):
        # `random.random` is a method of a hidden instance; `datetime.now` of a class.
        kind = owner if isinstance(owner, type) else type(owner)
        if kind.__module__ == "random":
            return f"random.{getattr(found, '__name__', '')}"
        return f"{kind.__module__}.{kind.__qualname__}.{getattr(found, '__name__', '')}"
    name = getattr(found, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    return f"{_public_module(module)}.{name}"


def _public_module(module: str) -> str:
    if module.startswith("asyncio."):
        return "asyncio"
    if module.startswith("concurrent.futures."):
        return "concurrent.futures"
    return {"posix": "os", "nt": "os", "_io": "io", "_random": "random", "_socket": "socket"}.get(
        module, module
    )


def _report(name: str | None, code: CodeType, line: int) -> Iterator[Finding]:
    if name is None or name in _HARMLESS:
        return
    instead = _INSTEAD.get(name)
    if instead is None:
        module, _, rest = name.partition(".")
        if name.startswith("concurrent.futures."):
            module, rest = "concurrent.futures", name
        if rest and module in _WHOLE_MODULES:
            instead = _WHOLE_MODULES[module]
    if instead is not None:
        yield Finding(name=name, file=code.co_filename, line=line, instead=instead)
