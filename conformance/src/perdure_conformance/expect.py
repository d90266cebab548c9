"""How a check complains about a broken promise.

Plain functions in place of `assert`, so that a check complains in the same way with pytest, without
it, and under `python -O`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar, cast

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
        raise ClauseBroken(f"{what}: {contrast(found, wanted)}")


def contrast(found: object, wanted: object) -> str:
    """How two values differ: the values, or what two long collections do not have in common."""
    whole = f"found {shortened(found)}, expected {shortened(wanted)}"
    if len(whole) <= SHORT:
        return whole
    ours, theirs = members(found), members(wanted)
    if ours is None or theirs is None:
        return whole
    missing, strange = Counter(theirs) - Counter(ours), Counter(ours) - Counter(theirs)
    said = [f"found {len(ours)}, expected {len(theirs)}"] if len(ours) != len(theirs) else []
    said += [f"missing: {some(missing)}"] if missing else []
    said += [f"not expected: {some(strange)}"] if strange else []
    if said:
        return "; ".join(said)
    places = [n for n, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other]
    if not places:
        return whole
    first = places[0]
    return (
        f"the same in another order: found {cut(ours[first])} at place {first}, expected"
        f" {cut(theirs[first])}"
    )


SHORT = 300
"""Two values that take no more characters than this are shown whole."""


def members(value: object) -> Sequence[str] | None:
    """The texts of what a collection has, in its order; None for anything else."""
    if isinstance(value, list | tuple | set | frozenset):
        each = [repr(one) for one in cast("Iterable[object]", value)]
        return each if isinstance(value, list | tuple) else sorted(each)
    return None


def some(counted: Counter[str]) -> str:
    """The first members, and the number of the others."""
    each = list(counted.elements())
    others = f" and {len(each) - 8} others" if len(each) > 8 else ""
    return f"{', '.join(map(cut, each[:8]))}{others}"


def cut(text: str) -> str:
    """A text, or its beginning and its length if it is long."""
    return text if len(text) <= 60 else f"{text[:40]}… ({len(text)} characters)"


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
