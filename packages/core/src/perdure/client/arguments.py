"""Checks of arguments that several calls of a client take."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from perdure.clock import Instant, to_instant
from perdure.errors import InvalidInput
from perdure.model.shown import shown
from perdure.records.instances import InstanceStatus

LONGEST_REASON = 16 * 1024
"""The longest reason of a call, in bytes of UTF-8; it becomes part of what is stored."""

LARGEST_PAGE = 1000
"""The largest page size, and the default."""


def check_reason(reason: str) -> str:
    """Return the reason; raises `InvalidInput` unless it is a text of at most 16 KiB."""
    if not isinstance(cast("object", reason), str):
        raise InvalidInput(f"reason {shown(reason)} is not a string; say in words why")
    try:
        encoded = reason.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"reason {shown(reason)} has characters that UTF-8 cannot carry; remove the surrogates"
        ) from None
    if len(encoded) > LONGEST_REASON:
        raise InvalidInput(
            f"reason {reason[:40]!r}… has {len(encoded)} bytes; shorten it to {LONGEST_REASON}"
        )
    return reason


def check_page_size(page_size: int | None, what: str = "page size") -> int:
    """Return the size, or 1,000 for None; raises `InvalidInput` outside of 1 to 1,000."""
    if page_size is None:
        return LARGEST_PAGE
    if not is_integer(page_size) or not 1 <= page_size <= LARGEST_PAGE:
        raise InvalidInput(f"{what} {shown(page_size)} is out of range; pass 1 to {LARGEST_PAGE}")
    return page_size


def check_token(token: str | None) -> None:
    """Raise `InvalidInput` unless the token is a text or None."""
    if not isinstance(cast("object", token), str | None):
        raise InvalidInput(f"token {shown(token)} is not a string; pass the next_token of a page")


def check_execution(execution: int) -> None:
    """Raise `InvalidInput` unless the execution is a whole number."""
    if not is_integer(execution):
        raise InvalidInput(
            f"execution {shown(execution)} is not a number; list_executions names those that exist"
        )


def check_count(value: int, what: str, *, least: int = 1) -> int:
    """Return the value; raises `InvalidInput` unless it is a whole number of at least `least`."""
    if not is_integer(value) or value < least:
        raise InvalidInput(f"{what} {shown(value)} is out of range; pass {least} or more")
    return value


def check_instant(value: datetime, what: str) -> Instant:
    """The instant of an aware datetime; raises `InvalidInput`."""
    if not isinstance(cast("object", value), datetime) or value.tzinfo is None:
        raise InvalidInput(f"{what} {shown(value)} is no instant; pass an aware datetime")
    return to_instant(value)


def check_status(status: InstanceStatus | str) -> InstanceStatus:
    """The status of this value; raises `InvalidInput`, which names the valid ones."""
    for known in InstanceStatus:
        if isinstance(status, str) and status == known:  # pyright: ignore[reportUnnecessaryIsInstance] # callers without a type checker
            return known
    valid = ", ".join(repr(each.value) for each in InstanceStatus)
    raise InvalidInput(
        f"status {shown(status)} is unknown; pass an InstanceStatus or one of {valid}"
    )


def is_integer(value: object) -> bool:
    """Whether the value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)
