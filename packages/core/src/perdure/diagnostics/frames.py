"""Tells the frames of user code from those of Perdure and asyncio, by the module they belong to.

A frame is judged by the name of its module, never by a path: `perdure_shop` lies beside `perdure`
in every environment, the path of one begins like the path of the other, and generated code (of a
dataclass, for instance) has no path at all.
"""

from __future__ import annotations

from types import FrameType

_INNER = frozenset({"perdure", "asyncio"})


def module_of(frame: FrameType) -> str:
    """The full name of the module whose code runs in the frame."""
    return str(frame.f_globals.get("__name__", "?"))


def is_user_code(frame: FrameType) -> bool:
    """Whether the frame belongs to neither Perdure nor asyncio, but to code that uses them."""
    return module_of(frame).partition(".")[0] not in _INNER
