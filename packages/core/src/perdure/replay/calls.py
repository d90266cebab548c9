"""Reads a call of the context: which name is meant, and its input as JSON text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from perdure.authoring.references import (
    ActivityReference,
    OrchestrationReference,
    activity_reference,
    orchestration_reference,
)
from perdure.authoring.registry import Catalog
from perdure.errors import InvalidInput, NotRegistered
from perdure.model.identifiers import check_identifier
from perdure.model.payload import check_annotation, encode
from perdure.model.shown import shown
from perdure.model.versions import check_version


class _Omitted:
    """The default of an input that was not given; None is an input."""


OMITTED: Final = _Omitted()


def read_activity_call(
    catalog: Catalog, activity: Callable[..., object] | str, input: object, result_type: object
) -> tuple[str, str, object]:
    """Name, input as text, and the type of the result."""
    if isinstance(activity, str):
        check_annotation(result_type, f"result_type of activity {activity!r}")
        return *_read_named(activity, input, "activity"), result_type
    reference = activity_reference(activity) or catalog.activity_of(activity)
    if reference is None:
        raise NotRegistered(
            f"{shown(activity)} is not registered as an activity; decorate it with"
            " @registry.activity, or pass its registered name"
        )
    return reference.name, _encode_input(reference, input, "activity"), reference.result_type


def read_orchestration_call(
    orchestration: Callable[..., object] | str, input: object, result_type: object
) -> tuple[str, str, object]:
    """Name, input as text, and the type of the result."""
    if isinstance(orchestration, str):
        check_annotation(result_type, f"result_type of orchestration {orchestration!r}")
        return *_read_named(orchestration, input, "orchestration"), result_type
    reference = orchestration_reference(orchestration)
    if reference is None:
        raise NotRegistered(
            f"{shown(orchestration)} is not registered as an orchestration; decorate it with"
            " @registry.orchestration, or pass its registered name"
        )
    return reference.name, _encode_input(reference, input, "orchestration"), reference.result_type


def _read_named(name: str, input: object, kind: str) -> tuple[str, str]:
    name = check_identifier(name, f"{kind} name")
    value = None if input is OMITTED else input
    return name, encode(value, what=f"input of {kind} {name!r}")


def _encode_input(
    reference: ActivityReference | OrchestrationReference, input: object, kind: str
) -> str:
    if reference.takes_input:
        if input is OMITTED:
            raise InvalidInput(f"{kind} {reference.name!r} takes an input; pass it")
        return encode(input, reference.input_type, what=f"input of {kind} {reference.name!r}")
    if input is not OMITTED and input is not None:
        raise InvalidInput(
            f"{kind} {reference.name!r} takes no input, and {shown(input)} was passed; leave it out"
        )
    return encode(None)


def check_optional_id(instance: str | None) -> None:
    """Raise `InvalidIdentifier` where it is given and none."""
    if instance is not None:
        check_identifier(instance, "instance id")


def check_optional_version(version: str | None) -> None:
    """Raise `InvalidVersion` where it is given and none."""
    if version is not None:
        check_version(version)
