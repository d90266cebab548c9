"""Versions of orchestrations: semantic versions, ordered as semver.org 2.0.0 defines."""

from __future__ import annotations

import re

from perdure.errors import InvalidVersion
from perdure.model.shown import shown

DEFAULT_VERSION = "1.0.0"

LONGEST_VERSION = 128
"""In characters."""

_NUMBER = r"(0|[1-9]\d*)"
_LABEL = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_LABEL}(?:\.{_LABEL})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)

VersionKey = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


def check_version(value: str) -> str:
    """Return `value` if it is a semantic version; raises `InvalidVersion`."""
    version_key(value)
    return value


def is_version(value: object) -> bool:
    """Whether it is the text of a semantic version."""
    return isinstance(value, str) and _VERSION.fullmatch(value) is not None


def version_key(value: str) -> VersionKey:
    """A key that sorts versions by precedence; raises `InvalidVersion`."""
    # Without the limit, a number could have more digits than Python converts.
    readable = isinstance(value, str) and len(value) <= LONGEST_VERSION  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
    match = _VERSION.fullmatch(value) if readable else None
    if match is None:
        raise InvalidVersion(
            f"version {shown(value)} is not a semantic version of at most {LONGEST_VERSION}"
            " characters; write it as in '1.4.0' or '2.0.0-rc.1'"
        )
    major, minor, patch, before = match.groups()
    labels = before.split(".") if before else []
    # A version without pre-release labels comes after those that have them.
    return (
        int(major),
        int(minor),
        int(patch),
        before is None,
        tuple(
            (False, int(label), "") if label.isdecimal() else (True, 0, label) for label in labels
        ),
    )
