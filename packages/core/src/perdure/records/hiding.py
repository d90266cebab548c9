"""Events without their payloads, for a document that is kept where the payloads may not be."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final

from perdure.history import Event
from perdure.model.details import (
    ApplicationFailure,
    Cancelled,
    ErrorDetails,
    Raised,
)
from perdure.model.hidden_payload import Payloads, hide, hide_words

_PAYLOADS: Final = frozenset({"input", "output", "result", "data", "value", "previous"})


def hide_payloads(event: Event, payloads: Payloads) -> Event:
    """The event with its payloads, and the texts of errors and reasons, hidden."""
    if payloads == "full":
        return event
    hidden: dict[str, object] = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if value is None:
            continue
        if field.name in _PAYLOADS:
            hidden[field.name] = hide(value, payloads)
        elif field.name == "reason":
            hidden[field.name] = hide_words(value, payloads)
        elif field.name == "details":
            hidden[field.name] = _hide_details(value, payloads)
        elif field.name == "headers":
            hidden[field.name] = {name: hide_words(text, payloads) for name, text in value.items()}
        elif field.name == "copied_from":
            hidden[field.name] = replace(value, reason=hide_words(value.reason, payloads))
    return replace(event, **hidden) if hidden else event


def _hide_details(details: ErrorDetails, payloads: Payloads) -> ErrorDetails:
    kind = details.kind
    if isinstance(kind, Raised):
        return ApplicationFailure(_hide_raised(kind, payloads))
    if isinstance(kind, Cancelled):
        return ApplicationFailure(Cancelled(reason=hide_words(kind.reason, payloads)))
    return details


def _hide_raised(raised: Raised, payloads: Payloads) -> Raised:
    """The failure without its texts; the details of an `ApplicationError` are left out."""
    return replace(
        raised,
        message=hide_words(raised.message, payloads),
        notes=tuple(hide_words(note, payloads) for note in raised.notes),
        data=None,
        causes=tuple(_hide_raised(cause, payloads) for cause in raised.causes),
    )
