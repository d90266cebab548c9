"""Finds in an orchestration's code what would differ in replay, before it is ever run.

The compiled code is read, not run and not patched: every chain of names that leads to a known
function of the standard library (`time.time`, `datetime.now`, `random.random`, …) is reported
with its line and what to use instead. The values of variables are not followed, nor are the
functions that the code calls; the comparison with the history finds at run time what is not
found here.

The tables have what gives another answer in a replay (clocks, randomness, the process and its
surroundings), acts on the world at every replay (files, network, processes), or cannot run on the
orchestration's loop (threads). What is harmless when it is repeated, such as `print`, is not in
them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import cast

from perdure.authoring.loads import loads_of
from perdure.model.record import record

_NOW = "ctx.now()"
_RANDOM = "ctx.random()"
_ACTIVITY = "an activity"
_INPUT = "the input, or an activity that reads it"
_STARTED_BY_THE_HOST = "what the host has running: await"

FORBIDDEN_NAMES: Mapping[str, str] = {
    "time.time": _NOW,
    "time.time_ns": _NOW,
    "time.monotonic": _NOW,
    "time.monotonic_ns": _NOW,
    "time.perf_counter": _NOW,
    "time.perf_counter_ns": _NOW,
    "time.process_time": _NOW,
    "time.process_time_ns": _NOW,
    "time.thread_time": _NOW,
    "time.localtime": _NOW,
    "time.gmtime": _NOW,
    "time.ctime": _NOW,
    "time.sleep": "await asyncio.sleep(…)",
    "datetime.datetime.now": _NOW,
    "datetime.datetime.utcnow": _NOW,
    "datetime.datetime.today": _NOW,
    "datetime.date.today": f"{_NOW}.date()",
    "uuid.uuid1": "ctx.uuid4()",
    "uuid.uuid4": "ctx.uuid4()",
    "uuid.uuid6": "ctx.uuid4()",
    "uuid.uuid7": "ctx.uuid4()",
    "uuid.getnode": _INPUT,
    "builtins.hash": "hashlib, for Python's hashes of text differ from process to process",
    "builtins.id": "a key of your own",
    "builtins.open": _ACTIVITY,
    "builtins.input": "ctx.schedule_wait(…)",
    "io.open": _ACTIVITY,
    "gc.collect": "nothing: it runs clean-up at a moment that no replay repeats",
    "os.urandom": _RANDOM,
    "os.getrandom": _RANDOM,
    "os.environ": _INPUT,
    "os.getenv": _INPUT,
    "os.getpid": _INPUT,
    "os.getcwd": _INPUT,
    "os.cpu_count": _INPUT,
    "os.listdir": _ACTIVITY,
    "os.scandir": _ACTIVITY,
    "os.walk": _ACTIVITY,
    "os.stat": _ACTIVITY,
    "os.open": _ACTIVITY,
    "os.remove": _ACTIVITY,
    "os.unlink": _ACTIVITY,
    "os.rename": _ACTIVITY,
    "os.replace": _ACTIVITY,
    "os.mkdir": _ACTIVITY,
    "os.makedirs": _ACTIVITY,
    "os.system": _ACTIVITY,
    "os.popen": _ACTIVITY,
    "os.fork": _ACTIVITY,
    "asyncio.run": _STARTED_BY_THE_HOST,
    "asyncio.Runner": _STARTED_BY_THE_HOST,
    "asyncio.new_event_loop": _STARTED_BY_THE_HOST,
    "asyncio.all_tasks": "a list of the tasks that you created",
    "asyncio.to_thread": _ACTIVITY,
    "asyncio.open_connection": _ACTIVITY,
    "asyncio.start_server": _ACTIVITY,
    "asyncio.open_unix_connection": _ACTIVITY,
    "asyncio.start_unix_server": _ACTIVITY,
    "asyncio.create_subprocess_exec": _ACTIVITY,
    "asyncio.create_subprocess_shell": _ACTIVITY,
    "asyncio.run_coroutine_threadsafe": "asyncio.create_task(…)",
    "asyncio.wrap_future": _ACTIVITY,
}
"""Functions, classes and objects."""

FORBIDDEN_MODULES: Mapping[str, str] = {
    "random": _RANDOM,
    "secrets": _RANDOM,
    "numpy.random": _RANDOM,
    "threading": _ACTIVITY,
    "multiprocessing": _ACTIVITY,
    "concurrent.futures": _ACTIVITY,
    "subprocess": _ACTIVITY,
    "socket": _ACTIVITY,
    "shutil": _ACTIVITY,
    "tempfile": _ACTIVITY,
    "sqlite3": _ACTIVITY,
    "smtplib": _ACTIVITY,
    "http.client": _ACTIVITY,
    "urllib.request": _ACTIVITY,
    "requests": _ACTIVITY,
    "httpx": _ACTIVITY,
}
"""Everything callable in these, exceptions left out."""

HARMLESS = frozenset({"random.Random", "random.Random.__init__"})
"""Seeded by the caller."""

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


@record
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
