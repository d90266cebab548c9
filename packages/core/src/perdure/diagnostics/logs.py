"""Log lines about user code, each with fields, and never at the cost of what they tell of.

The loggers are `perdure.orchestration.NAME` and `perdure.activity.NAME`, by the registered name,
so that levels can be set for each. Ids and names are arguments or fields, never format strings.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from types import TracebackType

from perdure.diagnostics.failures import ends_the_process
from perdure.diagnostics.frames import is_user_code
from perdure.model.details import BEFORE, ErrorDetails, Raised, headline

Fields = Mapping[str, object]
"""What `extra` has; every name begins with `perdure_`."""


def of_instance(instance: str) -> Fields:
    """The field of every line about an instance."""
    return {"perdure_instance": instance}


def orchestration_logger(name: str) -> logging.Logger:
    """The logger of one orchestration."""
    return logging.getLogger(f"perdure.orchestration.{name}")


def activity_logger(name: str) -> logging.Logger:
    """The logger of one activity."""
    return logging.getLogger(f"perdure.activity.{name}")


def log_line(
    logger: logging.Logger,
    level: int,
    message: str,
    *args: object,
    fields: Fields,
    error: BaseException | None = None,
) -> None:
    """Log a line, with the trace of `error` where there is one.

    A handler that chokes on the exception (one that has no text, groups without end) or that
    raises for reasons of its own changes nothing of what happened.
    """
    if not logger.isEnabledFor(level):
        return
    try:
        shown = None if error is None else (type(error), error, _user_trace(error))
        logger.log(level, message, *args, exc_info=shown, extra=fields, stacklevel=2)
    except BaseException as broken:
        if ends_the_process(broken):
            raise
        if error is not None:
            without = f"{message} (its trace could not be logged)"
            log_line(logger, level, without, *args, fields=fields)


def _user_trace(error: BaseException) -> TracebackType | None:
    """The trace from the first line of the user's code on; the whole where there is none."""
    trace = error.__traceback__
    while trace is not None and not is_user_code(trace.tb_frame):
        trace = trace.tb_next
    return trace or error.__traceback__


def trace_text(details: ErrorDetails) -> str:
    """Where it was raised, and what it comes from, below a line that has its message."""
    kind = details.kind
    lines = _below(kind, "  ") if isinstance(kind, Raised) else ()
    return "".join(f"\n{line}" for line in lines)


def _below(raised: Raised, margin: str) -> Iterator[str]:
    for frame in raised.trace:
        yield f"{margin}{frame}"
    for cause in raised.causes:
        before = BEFORE[cause.relation] if cause.relation else "with"
        yield f"{margin}{before} {headline(cause)}"
        yield from _below(cause, f"{margin}  ")
