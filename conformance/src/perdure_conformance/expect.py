"""How a check complains about a broken promise.

Plain functions in place of `assert`, so that a check complains in the same way with pytest, without
it, and under `python -O`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
E = TypeVar("E", bound=Exception)


class ClauseBroken(AssertionError):
    """The provider broke the clause; the message says what was found."""


def expect(condition: object, complaint: str) -> None:
    """Complain unless the condition holds."""
    if not condition:
        raise ClauseBroken(complaint)


def expect_equal(found: T, wanted: T, what: str) -> None:
    """Complain unless both are equal."""
    if found != wanted:
        raise ClauseBroken(f"{what}: found {shortened(found)}, expected {shortened(wanted)}")


def shortened(value: object) -> str:
    """The value's repr, or its two ends if it is long."""
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:400]} … {text[-180:]}"


class Refusal(Generic[E]):
    """The error with which a call was refused, available after the block."""

    def __init__(self, kind: type[E]) -> None:
        self.kind = kind
        self.found: E | None = None

    @property
    def error(self) -> E:
        """The error."""
        if self.found is None:
            raise ClauseBroken(f"no {self.kind.__name__} was raised")
        return self.found


@contextmanager
def expect_refusal(kind: type[E], what: str) -> Generator[Refusal[E]]:
    """Complain unless the block raises exactly this class of error."""
    refusal = Refusal(kind)
    try:
        yield refusal
    except kind as error:
        if type(error) is not kind:
            raise ClauseBroken(
                f"{what}: raised {type(error).__name__}, expected {kind.__name__}"
            ) from error
        refusal.found = error
        return
    raise ClauseBroken(f"{what}: it went through, expected {kind.__name__}")
