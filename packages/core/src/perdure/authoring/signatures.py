"""Reads a function that is to be registered: its name, its place, its input and its output."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, NoReturn, cast, get_type_hints

from perdure.errors import InvalidSignature


def is_async(function: Callable[..., object]) -> bool:
    inner = inner_function(function)
    call = getattr(inner, "__call__", None)  # noqa: B004 # an object with an async __call__
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(call)


def own_name(function: Callable[..., object]) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise InvalidSignature(f"{function!r} has no name of its own; pass name=…")
    return name


def where_defined(function: Callable[..., object]) -> str:
    inner = inner_function(function)
    code = getattr(inner, "__code__", None) or getattr(
        getattr(inner, "__func__", None), "__code__", None
    )
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def read_signature(
    function: Callable[..., object], name: str, kind: str, before_input: int, frame: FrameType
) -> tuple[bool, object, object]:
    """Whether it takes an input, and the types of input and output; `name` is for messages."""

    def refuse(why: str) -> NoReturn:
        raise InvalidSignature(f"{kind} {name!r} at {where_defined(function)} {why}")

    parameters = _open_parameters(function)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required_keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(positional) < before_input:
        refuse("takes no context; its first parameter is the OrchestrationContext")
    inputs = positional[before_input:]
    if not inputs and len(required_keywords) == 1:
        refuse(
            f"takes {required_keywords[0].name!r} by keyword only, and its input is passed by"
            " position; let it take the input by position"
        )
    if len(inputs) > 1 or required_keywords or len(parameters) != len(positional):
        given = ", ".join(str(p).partition(":")[0] for p in parameters[before_input:])
        refuse(f"takes more than one input ({given}); put them into one model or dataclass")
    try:
        hints = _hints(function, frame)
    except Exception as error:
        raise InvalidSignature(
            f"the annotations of {kind} {name!r} at {where_defined(function)} cannot be resolved:"
            f" {error}; define or import the types before it"
        ) from error
    input_type = hints.get(inputs[0].name, Any) if inputs else None
    return bool(inputs), input_type, hints.get("return", Any)


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


def inner_function(function: Callable[..., object]) -> Callable[..., object]:
    """The callable that a `functools.partial` completes, which has the code and the annotations."""
    while isinstance(function, functools.partial):
        function = cast("functools.partial[object]", function).func
    return function
