"""Functions of orchestrations and activities: what their signatures say, and what is kept of them.

A decorated function carries its reference as an attribute, so that a client can take the function
itself without knowing the registry. A reference is a name: which version runs is decided when the
target first runs. A definition is what a registry keeps: the reference, the function and its
settings. Nothing here registers or calls anything.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from types import FrameType, NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Never,
    NoReturn,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from perdure.authoring.parameters import Parameters
from perdure.authoring.retry import RetryPolicy
from perdure.errors import InvalidSignature
from perdure.model.comparison import Compare
from perdure.model.record import record

ORCHESTRATION_ATTRIBUTE = "__perdure_orchestration__"
ACTIVITY_ATTRIBUTE = "__perdure_activity__"


@record
class OrchestrationReference:
    """What a function that is registered as an orchestration stands for."""

    name: str
    version: str
    """The version that this function is registered as; a call does not pin it."""
    parameters: Parameters
    """What it takes besides the context."""
    result_type: object
    """The annotation of its result; `Any` where it has none."""


@record
class ActivityReference:
    """What a function that is registered as an activity stands for."""

    name: str
    parameters: Parameters
    result_type: object
    """The annotation of its result; `Any` where it has none."""
    retry: RetryPolicy | None = None
    """The retry policy of a call that does not name one."""
    tag: str | None = None
    """The tag of a call that does not name one."""


@record
class ActivityDefinition:
    """A registered activity."""

    reference: ActivityReference
    function: Callable[..., object]
    asynchronous: bool
    """False: a plain function, which runs in a thread."""
    where: str
    aliases: tuple[str, ...] = ()
    """Former names."""
    compare: Compare | None = None
    """None: the setting of the orchestration or of the runtime counts."""
    transactional: bool = False
    """Whether it writes in a transaction that its result belongs to."""
    cancel_grace: timedelta | None = None
    """How long it goes on after it was told of a cancellation; None: as the runtime says."""

    @property
    def name(self) -> str:
        """The registered name."""
        return self.reference.name


@record
class OrchestrationDefinition:
    """A registered version of an orchestration."""

    reference: OrchestrationReference
    function: Callable[..., Awaitable[object]]
    where: str
    aliases: tuple[str, ...] = ()
    """Former names."""
    compare: Compare | None = None
    """None: the setting of the runtime counts."""
    park_on: tuple[type[BaseException], ...] = ()
    """Uncaught errors that park the instance instead of ending it; those of the runtime count too."""

    @property
    def name(self) -> str:
        """The registered name."""
        return self.reference.name

    @property
    def version(self) -> str:
        """The registered version."""
        return self.reference.version


def orchestration_reference(function: object) -> OrchestrationReference | None:
    """What the function stands for, or None where it is not registered as an orchestration."""
    reference = getattr(function, ORCHESTRATION_ATTRIBUTE, None)
    return reference if isinstance(reference, OrchestrationReference) else None


def activity_reference(function: object) -> ActivityReference | None:
    """What the function stands for, or None where it is not registered as an activity.

    A bound method that was registered has none: all objects of the class share its function. The
    catalog knows it.
    """
    reference = getattr(function, ACTIVITY_ATTRIBUTE, None)
    return reference if isinstance(reference, ActivityReference) else None


_OWNERS = frozenset({"self", "cls"})


class ContextMarker:
    """Base of the context, so that a signature can be read without knowing the engine."""

    __slots__ = ()


@record
class Signature:
    """What a function takes and returns."""

    parameters: Parameters
    result_type: object


def read_signature(
    function: Callable[..., object], name: str, *, takes_context: bool, frame: FrameType
) -> Signature:
    """Read it from the function; `frame` has the names that are local to where it is registered.

    Raises `InvalidSignature` for a function that cannot be run as what it is registered as.
    """
    kind = "orchestration" if takes_context else "activity"
    named = f"{kind} {name!r} at {where_defined(function)}"

    def refuse(why: str) -> NoReturn:
        raise InvalidSignature(f"{named} {why}")

    if isinstance(function, type):
        refuse("is a class; register a function that makes one and returns it")
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        refuse("yields values, and has one result; collect them in a list and return it")
    if takes_context and not is_async(function):
        refuse("is not an async function; write it as `async def`")
    try:
        parameters = _open_parameters(function)
    except (ValueError, TypeError):
        refuse("has no signature that can be read; call it in a function of your own")
    try:
        hints = _hints(function, frame)
    except Exception as error:
        raise InvalidSignature(
            f"the annotations of {named} cannot be resolved: {error}; define or import the types"
            " before it"
        ) from error
    if parameters and parameters[0].name in _OWNERS.difference(hints):
        refuse(
            f"takes {parameters[0].name!r}, the object that a method belongs to; register the"
            " method of an object, as in register_activity(shop.charge, name=…)"
        )
    if takes_context:
        if why := _without_context(parameters, hints):
            refuse(why)
        parameters = parameters[1:]
    if why := _unfit(parameters, hints):
        refuse(why)
    returned = hints.get("return", Any)
    never_returns = returned is NoReturn or returned is Never
    return Signature(
        parameters=Parameters(parameters, hints), result_type=Any if never_returns else returned
    )


def _open_parameters(function: Callable[..., object]) -> list[inspect.Parameter]:
    """The parameters that nothing is bound to yet."""
    parameters = inspect.signature(function).parameters.values()
    if not isinstance(function, functools.partial):
        return list(parameters)
    bound = cast("functools.partial[object]", function).keywords
    return [parameter for parameter in parameters if parameter.name not in bound]


def _hints(function: Callable[..., object], frame: FrameType) -> Mapping[str, object]:
    inner = inner_function(function)
    annotated = inspect.isroutine(inner) or "__annotations__" in getattr(inner, "__dict__", {})
    target = inner if annotated else type(inner).__call__
    # The locals of where it is registered, for types that are defined beside it.
    return get_type_hints(target, localns=frame.f_locals, include_extras=True)


def _without_context(
    parameters: list[inspect.Parameter], hints: Mapping[str, object]
) -> str | None:
    """Why it takes no context, or None where it does."""
    write = "its first parameter is the context, as in `async def flow(ctx: OrchestrationContext)`"
    first = parameters[0] if parameters else None
    if first is None or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        return f"takes no context; {write}"
    if not _may_be_context(hints.get(first.name, Any)):
        return f"takes {first} first, and no context; {write}"
    return None


def _may_be_context(annotation: object) -> bool:
    if annotation is Any or annotation is object or isinstance(annotation, TypeVar):
        return True
    origin = get_origin(annotation)
    if origin is Annotated or origin is Union or origin is UnionType:
        return any(map(_may_be_context, get_args(annotation)))
    kind = origin or annotation
    # A protocol of what the function needs of its context is for the type checker to judge.
    is_protocol = getattr(kind, "_is_protocol", False)
    return is_protocol or (isinstance(kind, type) and issubclass(kind, ContextMarker))


def _unfit(parameters: list[inspect.Parameter], hints: Mapping[str, object]) -> str | None:
    """Why its parameters cannot be filled from a payload, or None where they can."""
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            return f"takes {parameter}, and a payload has a value for each name; name them all"
        if parameter.kind is parameter.POSITIONAL_ONLY and len(parameters) > 1:
            return (
                f"takes {parameter.name!r} by position only, and a payload of several parameters"
                " has a value for each name; remove the `/`"
            )
        if type(parameter.default).__module__ == "pydantic.fields":
            return (
                f"gives {parameter.name!r} a pydantic Field as its default, which the function"
                f" would get as it is; write it into the annotation:"
                f" {parameter.name}: Annotated[…, Field(…)] = …"
            )
        if _is_a_context(hints.get(parameter.name)):
            return (
                f"takes a context as {parameter.name!r}; only the first parameter of an"
                " orchestration is one, and an activity asks activity_context()"
            )
    single = parameters[0] if len(parameters) == 1 else None
    if single is not None and _hides_default(single, hints.get(single.name, Any)):
        return (
            f"gives {single.name!r} the default {single.default!r}, which is never used: without"
            f" an input it is None, which its annotation allows; annotate it without None, or"
            " make None the default"
        )
    return None


def _is_a_context(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, ContextMarker)


def _hides_default(parameter: inspect.Parameter, annotation: object) -> bool:
    no_default = parameter.default is parameter.empty or parameter.default is None
    return not no_default and _allows_none(annotation)


def _allows_none(annotation: object) -> bool:
    if annotation is Any or annotation is object or annotation in (None, NoneType):
        return True
    origin = get_origin(annotation)
    if origin is Annotated:
        return _allows_none(get_args(annotation)[0])
    if origin is Union or origin is UnionType:
        return any(map(_allows_none, get_args(annotation)))
    return False


def own_name(function: Callable[..., object]) -> str:
    """The function's name; raises `InvalidSignature` where it has none."""
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise InvalidSignature(f"{function!r} has no name of its own; pass name=…")
    return name


def is_async(function: Callable[..., object]) -> bool:
    """Whether calling it makes a coroutine."""
    return _is(inspect.iscoroutinefunction, function)


def where_defined(function: Callable[..., object]) -> str:
    """The file and line of its code, for messages."""
    inner = inner_function(function)
    code = getattr(inner, "__code__", None) or getattr(
        getattr(inner, "__func__", None), "__code__", None
    )
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def inner_function(function: Callable[..., object]) -> Callable[..., object]:
    """The callable that a `functools.partial` completes, which has the code and the annotations."""
    while isinstance(function, functools.partial):
        function = cast("functools.partial[object]", function).func
    return function


def _is(kind: Callable[[object], bool], function: Callable[..., object]) -> bool:
    inner = inner_function(function)
    # The second: an object whose class has such a `__call__`.
    return kind(inner) or kind(getattr(inner, "__call__", None))  # noqa: B004
