"""A retry policy as the history records it.

Once an activity is scheduled, its recorded policy counts: an edited policy applies to activities
that are scheduled after the edit. Functions are not recorded: `retry_if` and a backoff of the
user's own class come from the code that runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any, cast

from pydantic_core import from_json, to_json

from perdure.authoring.retry import Backoff, Exponential, Fixed, Linear, RetryPolicy
from perdure.clock import Instant, to_microseconds
from perdure.model.wire import ActivityData

_BACKOFFS: Mapping[str, type[Fixed | Linear | Exponential]] = {
    kind.__name__: kind for kind in (Fixed, Linear, Exponential)
}


def policy_text(policy: RetryPolicy) -> str:
    """The policy as canonical JSON text; durations are microseconds."""
    plain = {
        "max_attempts": policy.max_attempts,
        "backoff": _backoff_to_plain(policy.backoff),
        "attempt_timeout": _to_plain(policy.attempt_timeout),
        "total_timeout": _to_plain(policy.total_timeout),
        "non_retryable": _names(policy),
        "retry_if": policy.retry_if is not None,
    }
    return to_json(plain).decode()


def policy_of(text: str, code: RetryPolicy | None) -> RetryPolicy:
    """The recorded policy; its functions come from the policy in the code."""
    plain = cast("dict[str, Any]", from_json(text))
    code = code or RetryPolicy()
    return RetryPolicy(
        max_attempts=plain["max_attempts"],
        backoff=_backoff_from_plain(plain["backoff"], code.backoff),
        attempt_timeout=_to_duration(plain["attempt_timeout"]),
        total_timeout=_to_duration(plain["total_timeout"]),
        non_retryable=tuple(plain["non_retryable"]),
        retry_if=code.retry_if if plain["retry_if"] else None,
    )


def with_policy(data: ActivityData, policy: RetryPolicy, began: Instant) -> ActivityData:
    """The data of an activity, with what its process needs of the policy; the first attempt `began` then.

    The process logs whether another attempt follows, and ends an attempt at the total limit.
    """
    total = policy.total_timeout
    return replace(
        data,
        deadline=None if total is None else began + to_microseconds(total),
        max_attempts=policy.max_attempts,
        non_retryable=_names(policy),
        conditional=policy.retry_if is not None or policy.total_timeout is not None,
    )


def _names(policy: RetryPolicy) -> tuple[str, ...]:
    return tuple(kind if isinstance(kind, str) else kind.__name__ for kind in policy.non_retryable)


def _backoff_to_plain(backoff: Backoff) -> dict[str, object]:
    kind = type(backoff)
    if kind not in _BACKOFFS.values():
        return {"kind": kind.__qualname__}
    known = cast("Fixed | Linear | Exponential", backoff)
    return {
        "kind": kind.__name__,
        **{field.name: _to_plain(getattr(known, field.name)) for field in fields(known)},
    }


def _backoff_from_plain(plain: dict[str, Any], code: Backoff) -> Backoff:
    kind = _BACKOFFS.get(plain["kind"])
    if kind is None:
        return code
    values: dict[str, Any] = {
        field.name: _to_duration(plain[field.name])
        if isinstance(field.default, timedelta)
        else plain[field.name]
        for field in fields(kind)
    }
    return kind(**values)


def _to_plain(value: object) -> object:
    return to_microseconds(value) if isinstance(value, timedelta) else value


def _to_duration(value: int | None) -> timedelta | None:
    return None if value is None else timedelta(microseconds=value)
