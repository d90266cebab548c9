"""The errors that application code raises to say more than a class and a text.

They stand apart from `perdure.errors` because they encode what they carry: the modules that encode
and check values import the errors.
"""

from __future__ import annotations

from datetime import timedelta

from perdure.errors import PayloadTooLarge, PerdureError
from perdure.model.durations import to_duration
from perdure.model.payload import encode

LARGEST_DETAILS = 65_536
"""How much JSON text, in bytes, the details of an `ApplicationError` may have."""


class ApplicationError(PerdureError):
    """Raised by an activity or an orchestration to say more than a class and a text.

    `details` is JSON or what becomes JSON, up to 64 KiB; an orchestration that awaits the activity reads it as
    `ActivityFailed.data`. Raises `InvalidPayload` or `PayloadTooLarge` for other details. Derive
    your own errors from it, or from its subclasses.
    """

    def __init__(self, message: str = "", *, details: object = None) -> None:
        super().__init__(message)
        self.details_text = _details_text(type(self), details)

    details_text: str | None = None
    """The details as JSON text."""


class NonRetryable(ApplicationError):
    """Raised where no other attempt can succeed: no retry policy tries again."""


class RetryAfter(ApplicationError):
    """Raised to say when to try again: a retry policy waits for `delay` instead of its backoff.

    `delay` is a `timedelta` or seconds. The limits of the policy still hold.
    """

    def __init__(
        self, delay: timedelta | float, message: str | None = None, *, details: object = None
    ) -> None:
        self.delay = to_duration(delay, "delay")
        if message is None:
            message = f"try again after {self.delay.total_seconds():g} s"
        super().__init__(message, details=details)


def _details_text(kind: type, details: object) -> str | None:
    if details is None:
        return None
    text = encode(details, what=f"details of {kind.__name__}")
    size = len(text.encode())
    if size > LARGEST_DETAILS:
        raise PayloadTooLarge(
            f"details of {kind.__name__} have {size} bytes of JSON text, more than the limit of"
            f" {LARGEST_DETAILS}; store them elsewhere and pass a reference"
        )
    return text
