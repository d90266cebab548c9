"""Turns an exception into plain data: type name, message, and a trace without machine paths."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import cast

from perdure.details import Raised
from perdure.frames import is_user_code, module_of

_MOST_FRAMES = 40
_LONGEST_MESSAGE = 32_768


def describe(error: BaseException, *, paths: bool = False) -> Raised:
    """The exception as data, with the exceptions of a group inside it.

    Frames of Perdure and asyncio are left out, and so is what a message has beyond 32,768
    characters. With `paths`, the trace names files in full.
    """
    causes = tuple(describe(inner, paths=paths) for inner in _inner(error))
    return Raised(
        type_name=type(error).__name__,
        message=_text(error),
        trace=_trace(error, paths=paths),
        causes=causes,
    )


def _inner(error: BaseException) -> Sequence[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return ()
    return cast("BaseExceptionGroup[BaseException]", error).exceptions


def _text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 # a user's __str__ must not hide the failure
        return "(its message could not be made)"
    # It becomes part of histories, statuses and messages, where nobody asked for a payload.
    more = len(text) - _LONGEST_MESSAGE
    return text if more <= 0 else f"{text[:_LONGEST_MESSAGE]}… ({more} more characters)"


def _trace(error: BaseException, *, paths: bool) -> tuple[str, ...]:
    frames: list[str] = []
    for frame, line in traceback.walk_tb(error.__traceback__):
        if is_user_code(frame):
            where = frame.f_code.co_filename if paths else module_of(frame)
            frames.append(f"{where}:{line} {frame.f_code.co_qualname}")
    return tuple(frames[-_MOST_FRAMES:])
