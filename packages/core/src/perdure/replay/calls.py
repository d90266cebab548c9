"""Reads a call of the context: the name that it calls, and its arguments as a payload.

With a function, the arguments are those of a call of it. With a name, the one argument is the
payload: the value of a single parameter, or an object by the names of several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from perdure.authoring.catalog import Catalog
from perdure.authoring.functions import (
    activity_reference,
    orchestration_reference,
)
from perdure.authoring.retry import RetryPolicy
from perdure.errors import NotRegistered
from perdure.model.identifiers import check_identifier
from perdure.model.payload import check_annotation, encode
from perdure.model.shown import shown
from perdure.model.versions import check_version


class _Omitted:
    """The default of what a call may leave out where None is a value."""


OMITTED: Final = _Omitted()


class Call(NamedTuple):
    """The name, the payload and the result type of a call, and the defaults of an activity."""

    name: str
    text: str
    """The payload."""
    result_type: object
    retry: RetryPolicy | None = None
    tag: str | None = None


def read_activity_call(
    catalog: Catalog,
    activity: Callable[..., object] | str,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    result_type: object = Any,
) -> Call:
    """A call of an activity; raises `NotRegistered` for a function that is not an activity."""
    if isinstance(activity, str):
        call = _read_named(activity, args, "activity", result_type)
        known = catalog.activity(call.name)
        if known is None:
            return call
        return call._replace(retry=known.reference.retry, tag=known.reference.tag)
    reference = activity_reference(activity) or catalog.activity_of(activity)
    if reference is None:
        raise _not_registered(activity, "activity")
    name = reference.name
    text = reference.parameters.encode(args, kwargs, f"activity {name!r}")
    return Call(name, text, reference.result_type, reference.retry, reference.tag)


def read_orchestration_call(
    orchestration: Callable[..., object] | str,
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    result_type: object = Any,
) -> Call:
    """A call of an orchestration; raises `NotRegistered` for a function that is not one."""
    if isinstance(orchestration, str):
        return _read_named(orchestration, args, "orchestration", result_type)
    reference = orchestration_reference(orchestration)
    if reference is None:
        raise _not_registered(orchestration, "orchestration")
    name = reference.name
    text = reference.parameters.encode(args, kwargs, f"orchestration {name!r}")
    return Call(name, text, reference.result_type)


def only_input(input: object) -> tuple[object, ...]:
    """The arguments of a call that has an input or `OMITTED`."""
    return () if input is OMITTED else (input,)


def _read_named(name: str, args: tuple[object, ...], kind: str, result_type: object) -> Call:
    check_annotation(result_type, f"result_type of {kind} {name!r}")
    name = check_identifier(name, f"{kind} name")
    (value,) = args or (None,)
    return Call(name, encode(value, what=f"input of {kind} {name!r}"), result_type)


def _not_registered(function: object, kind: str) -> NotRegistered:
    return NotRegistered(
        f"{shown(function)} is not registered as an {kind}; decorate it with @registry.{kind}, or pass"
        " its registered name"
    )


def check_optional_id(instance: str | None) -> None:
    """Raise `InvalidIdentifier` if the id is given and not valid."""
    if instance is not None:
        check_identifier(instance, "instance id")


def check_optional_version(version: str | None) -> None:
    """Raise `InvalidVersion` if the version is given and not valid."""
    if version is not None:
        check_version(version)
