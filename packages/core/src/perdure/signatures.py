"""Reads a function that is to be registered: its name, its place, its input and its output."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, get_type_hints

from perdure.errors import InvalidSignature


def is_async(function: Callable[..., object]) -> bool:
    call = getattr(function, "__call__", None)  # noqa: B004 # an object with an async __call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def own_name(function: Callable[..., object]) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        raise InvalidSignature(f"{function!r} has no name of its own; pass name=…")
    return name


def where_defined(function: Callable[..., object]) -> str:
    code = getattr(function, "__code__", None) or getattr(
        getattr(function, "__func__", None), "__code__", None
    )
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def read_signature(
    function: Callable[..., object], kind: str, before_input: int, frame: FrameType
) -> tuple[bool, object, object]:
    """Whether it takes an input, and the types of input and output."""
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required_keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(positional) < before_input:
        raise InvalidSignature(
            f"{kind} {own_name(function)!r} at {where_defined(function)} takes no context; its first"
            " parameter is the OrchestrationContext"
        )
    if (
        len(positional) > before_input + 1
        or required_keywords
        or len(parameters) != len(positional)
    ):
        raise InvalidSignature(
            f"{kind} {own_name(function)!r} at {where_defined(function)} takes more than one input; put"
            " them into one model or dataclass"
        )
    hints = _hints(function, kind, frame)
    takes_input = len(positional) == before_input + 1
    input_type = hints.get(positional[before_input].name, Any) if takes_input else None
    return takes_input, input_type, hints.get("return", Any)


def _hints(function: Callable[..., object], kind: str, frame: FrameType) -> Mapping[str, object]:
    target = function if hasattr(function, "__annotations__") else type(function).__call__
    try:
        # The locals of where it is registered, for types that are defined beside it.
        return get_type_hints(target, localns=frame.f_locals, include_extras=True)
    except Exception as error:
        raise InvalidSignature(
            f"the annotations of {kind} {own_name(function)!r} at {where_defined(function)} cannot be"
            f" resolved: {error}; define or import the types before it"
        ) from error
